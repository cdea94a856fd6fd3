package throttle

import (
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
)

const (
	// maxHosts bounds the hosts that are kept, maxTenants the namespaces at hosts, and maxRateLimits the credentials at hosts. Tenants
	// invent names.
	maxHosts      = 4096
	maxTenants    = 4096
	maxRateLimits = 4096

	// requestRate and requestBurst bound the requests to a host, in requests a second and at once. Docker Hub counts "thousands a
	// minute" as abuse.
	requestRate  = 100
	requestBurst = 500
	// requestReserve is the part of the burst that polls leave to imports.
	requestReserve = requestBurst / 5

	// probeDelay is how long to wait, at least, while another request probes a host.
	probeDelay = 250 * time.Millisecond
)

// Throttler decides whether a request may be sent to a host now. It never waits. What is kept of a host is lost with the process, which
// costs a request.
type Throttler struct {
	clock  clock.PassiveClock
	jitter func() float64
	// headerTimeout is how long a host may take for the header of a response.
	headerTimeout time.Duration

	mu    sync.Mutex
	hosts *lru.Cache
	// tenants are the circuit breakers for responses, by host and namespace.
	tenants *lru.Cache
	// rateLimits are what registries said, by host and credential.
	rateLimits *lru.Cache
}

// host is the state of one host, port included, as it is contacted. Token services are hosts of their own.
type host struct {
	name string
	// breaker counts failures to connect, timeouts and 429, which concern all namespaces.
	breaker  breaker
	requests *rate.Limiter
	// isRegistry: it was asked for manifests, so that a ping or a token does not show that it works.
	isRegistry bool
	// isHidden: its last failure was that of a host that is neither public nor listed.
	isHidden bool
}

// New returns a Throttler that has not seen a request yet. headerTimeout is how long a host may take for the header of a response.
func New(clock clock.PassiveClock, headerTimeout time.Duration) *Throttler {
	return &Throttler{
		clock: clock, jitter: rand.Float64, headerTimeout: headerTimeout,
		hosts: lru.New(maxHosts), tenants: lru.New(maxTenants), rateLimits: lru.New(maxRateLimits),
	}
}

// host returns the state of a host, which may be new. A name that is too long for a host is not kept.
func (t *Throttler) host(name string) *host {
	if kept, known := t.hosts.Get(name); known {
		return kept.(*host)
	}
	added := &host{name: name, requests: rate.NewLimiter(requestRate, requestBurst)}
	if len(name) <= endpoint.MaxHostLength {
		t.hosts.Add(name, added)
	}
	return added
}

// tenant returns the circuit breaker for the responses of a host to a namespace.
func (t *Throttler) tenant(h *host, namespace string) *breaker {
	key := h.name + " " + namespace
	if kept, known := t.tenants.Get(key); known {
		return kept.(*breaker)
	}
	added := &breaker{}
	if len(h.name) <= endpoint.MaxHostLength {
		t.tenants.Add(key, added)
	}
	return added
}

// paused returns the error of a circuit breaker that is open, or nil.
func (h *host) paused(b *breaker, now time.Time) error {
	if !b.isOpen(now) {
		return nil
	}
	return &regerr.PausedError{Host: h.name, Reason: b.reason, Until: b.until, IsHidden: h.isHidden}
}

// later makes the error of a request that has to wait.
func (t *Throttler) later(h *host, why string, after time.Duration) *ThrottledError {
	return &ThrottledError{Host: h.name, why: why, RetryAfter: after + time.Duration(t.jitter()*float64(after))}
}

// busy makes the error of a host that has had as many requests as it may get.
func (t *Throttler) busy(h *host) *ThrottledError {
	missing := 1 - h.requests.TokensAt(t.clock.Now())
	return t.later(h, "it got as many requests as it should", max(time.Duration(missing*float64(time.Second)/requestRate), 10*time.Millisecond))
}

// probed makes the error of a host that another request probes.
func (t *Throttler) probed(h *host) *ThrottledError {
	err := t.later(h, "another request tries whether it works again", probeDelay)
	err.IsFailing = true
	return err
}

// pausedFor returns until when, and for how long, a host is not asked for a namespace.
func (t *Throttler) pausedFor(name, namespace string) (until time.Time, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.host(name)
	until = h.breaker.until
	if own := t.tenant(h, namespace).until; own.After(until) {
		until = own
	}
	return until, max(until.Sub(t.clock.Now()), 0)
}

// CheckReserve returns a *ThrottledError for a poll where little is left of the requests that a host may get: that is for imports.
func (t *Throttler) CheckReserve(ep endpoint.Endpoint) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.host(ep.Address()); h.requests.TokensAt(t.clock.Now()) < requestReserve {
		return t.later(h, "it gets as many requests as it should, and imports come first", time.Second)
	}
	return nil
}

// CheckRateLimit returns an error where a credential's rate limit leaves nothing, or for a poll nothing but the reserve.
func (t *Throttler) CheckRateLimit(ep endpoint.Endpoint, credentialID string, isPoll bool) error {
	kept, known := t.rateLimits.Get(ep.Address() + " " + credentialID)
	if !known {
		return nil
	}
	now, left := t.clock.Now(), kept.(rateLimit)
	switch wait := left.wait(isPoll, now); {
	case wait <= 0:
		return nil
	case isPoll:
		return &ThrottledError{Host: ep.Address(), why: "little is left of its rate limit", RetryAfter: min(wait, 10*time.Minute)}
	default:
		return (&regerr.PausedError{Host: ep.Address(), Reason: rateLimited, Until: now.Add(wait)}).About(ep.Subject(), wait)
	}
}
