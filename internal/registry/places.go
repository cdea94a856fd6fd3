package registry

import (
	"errors"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
)

// How many may wait for one host, and how many questions to it may be under way: several while it answers, and one until it
// does. Who waits is a worker of the controller, which has 32.
const (
	placesAnswering = 8
	placesOtherwise = 1

	// placesUnproven bounds who waits for all hosts together that have not answered, and placesAsker those of one namespace:
	// a tenant may invent any number of hosts.
	placesUnproven = 8
	placesAsker    = 4

	// slowAnswer is how long an answer may take before a host counts as silent.
	slowAnswer = 3 * time.Second
)

// manner is how a host behaved the last time.
type manner int

const (
	unknown manner = iota
	answering
	silent
)

func (h *host) places() int {
	if h.manner == answering {
		return placesAnswering
	}
	return placesOtherwise
}

// turn says whether a question could be asked, without asking it.
func (q *quotas) turn(at location) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, h := q.clock.Now(), q.host(at.address())
	if err := h.closed(now); err != nil {
		return q.refusal(err, at)
	}
	if h.waiters >= h.places() || h.requests.TokensAt(now) < 1 {
		return q.later(h, "others are there")
	}
	return nil
}

func (q *quotas) refusal(err error, at location) error {
	var closed *closedError
	if !errors.As(err, &closed) {
		return err
	}
	return at.refusedUntil(closed, closed.until.Sub(q.clock.Now()))
}

// enter gives somebody a place to wait for a host, or none at once.
func (q *quotas) enter(at location, asker string) (leave func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.host(at.address())
	if h.waiters >= h.places() {
		return nil, q.later(h, "others are there")
	}
	if h.manner == answering {
		h.waiters++
		return func() { q.leave(h) }, nil
	}
	if q.unproven >= placesUnproven || q.byAsker[asker] >= placesAsker {
		return nil, q.later(h, "others wait for hosts that do not answer")
	}
	h.waiters++
	q.unproven++
	q.byAsker[asker]++
	return func() { q.leaveUnproven(h, asker) }, nil
}

func (q *quotas) leave(h *host) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h.waiters--
}

func (q *quotas) leaveUnproven(h *host, asker string) {
	q.leave(h)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unproven--
	if q.byAsker[asker]--; q.byAsker[asker] == 0 {
		delete(q.byAsker, asker)
	}
}

// begin counts a question under way, or refuses it, for want of a place if it needs one. Whoever asked may leave before it
// ends.
func (q *quotas) begin(at location, needsPlace bool) (end func(error), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, h := q.clock.Now(), q.host(at.address())
	if err := h.closed(now); err != nil {
		return nil, q.refusal(err, at)
	}
	if needsPlace && h.calls >= h.places() {
		return nil, q.later(h, "others ask it")
	}
	h.calls++
	return func(err error) { q.end(h, now, err) }, nil
}

func (q *quotas) end(h *host, began time.Time, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h.calls--
	var failure *Error
	switch {
	case isPostponed(err) || isClosed(err):
	case errors.As(err, &failure) && failure.reason == v1.ReasonRefusedByPolicy:
	case q.clock.Since(began) > slowAnswer, failure != nil && failure.reason == v1.ReasonUnavailable:
		h.manner = silent
	default:
		h.manner = answering
	}
}

// keptWaiting notes that somebody gave up waiting for the host.
func (q *quotas) keptWaiting(at location) *Postponed {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.host(at.address())
	h.manner = silent
	return q.later(h, "the answer is still under way")
}

// isClosed says whether a host was not even asked.
func isClosed(err error) bool {
	var closed *closedError
	return errors.As(err, &closed)
}
