package throttle

import (
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
)

const (
	// maxHosts bounds for how many hosts a quota is kept, and maxBudgets for how many identities at hosts. Tenants invent names.
	maxHosts      = 4096
	maxRateLimits = 4096

	// What a host gets at most, in requests a second and at once. Docker Hub counts "thousands a minute" as abuse.
	requestRate  = 100
	requestBurst = 500
	// requestReserve is what polls leave of it.
	requestReserve = requestBurst / 5

	// returnRate is how many of those whose turn it was not come back a second, to one host.
	returnRate    = 4 * requestRate
	longestReturn = time.Minute
)

// Throttler decides whether a host may be asked now. It never waits. What is kept of a host is lost with the process, which
// costs a request.
type Throttler struct {
	clock  clock.PassiveClock
	jitter func() float64
	// slow is how long an answer may take before nobody waits for the host.
	slow time.Duration

	mu    sync.Mutex
	hosts *lru.Cache
	// rateLimits are what registries said, by host and identity.
	rateLimits *lru.Cache
	// waiting is who waits for hosts, and strays the questions under way that nobody waited for when they began.
	waiting, strays *shares
}

// host is what is known of one host, port included, as it is contacted. Token services are hosts of their own.
type host struct {
	name     string
	breaker  breaker
	requests *rate.Limiter
	returns  *rate.Limiter
	// isRegistry: it was asked for manifests, so that a greeting or a token does not show that it works.
	isRegistry bool
	// isHidden: its last failure was that of a host that is neither public nor listed.
	isHidden bool
	manner   manner
	// waiters and calls are who waits for it, and the questions under way.
	waiters, calls int
}

func New(clock clock.PassiveClock, slow time.Duration) *Throttler {
	return &Throttler{
		clock: clock, jitter: rand.Float64, slow: slow,
		hosts: lru.New(maxHosts), rateLimits: lru.New(maxRateLimits),
		waiting: newShares(waiters, waitersOfAsker, 0), strays: newShares(strays, straysOfAsker, places),
	}
}

// host is what is kept of the host, or a new one. What is too long for a name is none, and is not kept.
func (q *Throttler) host(name string) *host {
	if kept, known := q.hosts.Get(name); known {
		return kept.(*host)
	}
	added := &host{name: name, requests: rate.NewLimiter(requestRate, requestBurst), returns: rate.NewLimiter(returnRate, 1)}
	if len(name) <= endpoint.MaxHostLength {
		q.hosts.Add(name, added)
	}
	return added
}

// paused is the error of a host that is to be left alone, or nil.
func (h *host) paused(now time.Time) error {
	if !h.breaker.isOpen(now) {
		return nil
	}
	return &regerr.PausedError{Host: h.name, Reason: h.breaker.reason, Until: h.breaker.until, IsHidden: h.isHidden}
}

// later has somebody come back: one after the other, after a moment, or after a while where the host does not answer soon.
func (q *Throttler) later(h *host, why string) *Postponed {
	now := q.clock.Now()
	after := min(h.returns.ReserveN(now, 1).DelayFrom(now), longestReturn)
	pause := 50 * time.Millisecond
	if h.manner.isPoor() {
		pause = q.slow / 3
	}
	after += pause + time.Duration(2*q.jitter()*float64(pause))
	return &Postponed{host: h.name, why: why, After: after, Silent: h.manner.isPoor()}
}

// pausedFor is how long the host is to be left alone.
func (q *Throttler) pausedFor(name string) (until time.Time, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	until = q.host(name).breaker.until
	return until, max(until.Sub(q.clock.Now()), 0)
}

// CheckReserve is an error for a hint where little is left of what the host gets of us in all: that is for imports.
func (q *Throttler) CheckReserve(ep endpoint.Endpoint) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if h := q.host(ep.Address()); h.requests.TokensAt(q.clock.Now()) < requestReserve {
		return q.later(h, "it gets as many requests as it should, and imports come first")
	}
	return nil
}

// CheckRateLimit is an error where an identity's rate limit leaves nothing, or for a hint nothing but the reserve.
func (q *Throttler) CheckRateLimit(ep endpoint.Endpoint, cred credentials.Credential, hint bool) error {
	kept, known := q.rateLimits.Get(ep.Address() + " " + cred.ID)
	if !known {
		return nil
	}
	now, left := q.clock.Now(), kept.(rateLimit)
	switch wait := left.wait(hint, now); {
	case wait <= 0:
		return nil
	case hint:
		return &Postponed{host: ep.Address(), why: "little is left of its rate limit", After: min(wait, 10*time.Minute)}
	default:
		return (&regerr.PausedError{Host: ep.Address(), Reason: rateLimited, Until: now.Add(wait)}).About(ep.Subject(), wait)
	}
}
