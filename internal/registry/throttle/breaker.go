package throttle

import (
	"time"

	v1 "github.com/images-io/tagger/api/v1"
)

const (
	// failuresToOpen is how many requests in a row must fail before the breaker opens. One without a response in time counts
	// as several: it took as long.
	failuresToOpen = 5
	timeoutCounts  = 3

	// The first pause, and the longest: over half an hour a host that is down gets about as many requests as a single Tag's
	// backoff would send, however many Tags it has.
	shortestPause = 5 * time.Second
	longestPause  = 5 * time.Minute

	// pauseJitter is by how much of itself a pause may be longer.
	pauseJitter = 0.2
)

// breaker is a circuit breaker for one host. It opens when the host asks to wait, or fails several times in a row,
// and then lets one request at a time try whether that is over. The zero value is closed: requests flow.
type breaker struct {
	// reason is why it is open; empty while it is closed.
	reason v1.Reason
	// until is when the next request may try.
	until time.Time
	// failures and pauses are in a row.
	failures, pauses int
	probing          bool
}

// isOpen reports whether the breaker is open.
func (b *breaker) isOpen(now time.Time) bool { return now.Before(b.until) }

// allowProbe lets one request at a time through while it is not known whether the host works again. A request that takes long is not let
// through as a probe.
func (b *breaker) allowProbe(takesLong bool) bool {
	if b.reason == "" {
		return true
	}
	if takesLong {
		return false
	}
	free := !b.probing
	b.probing = true
	return free
}

// onSuccess closes the breaker, unless the response belongs to a request that was sent before it opened.
func (b *breaker) onSuccess(now time.Time) {
	if b.isOpen(now) {
		return
	}
	*b = breaker{}
}

// onIgnored records a request that ended without showing whether the host works.
func (b *breaker) onIgnored() { b.probing = false }

// onFailure counts a failure. A probe that fails, and a host that says when to come back, open it at once.
func (b *breaker) onFailure(now time.Time, asked time.Duration, jitter float64) {
	b.failures++
	if b.reason != "" || asked > 0 || b.failures >= failuresToOpen {
		b.open(v1.ReasonUnavailable, now, asked, jitter)
	}
}

// onTimeout counts a failure that took its time.
func (b *breaker) onTimeout(now time.Time, jitter float64) {
	b.failures += timeoutCounts - 1
	b.onFailure(now, 0, jitter)
}

// onRateLimited opens the breaker for the time that the host asks for, or for a time of its own when that is 0.
func (b *breaker) onRateLimited(now time.Time, asked time.Duration, jitter float64) {
	b.open(v1.ReasonRateLimited, now, asked, jitter)
}

// open pauses for what the host asks, or for twice the last pause. What several requests meet at the same time is one
// reason to pause, and no reason to double.
func (b *breaker) open(reason v1.Reason, now time.Time, asked time.Duration, jitter float64) {
	b.probing = false
	pause := asked
	if pause == 0 {
		if b.isOpen(now) {
			return
		}
		pause = min(shortestPause<<min(b.pauses, 10), longestPause)
		pause += time.Duration(pauseJitter * jitter * float64(pause))
		b.pauses++
	}
	if until := now.Add(pause); until.After(b.until) {
		b.reason, b.until = reason, until
	}
}
