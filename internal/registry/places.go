package registry

import (
	"errors"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
)

const (
	// places is how many may wait for one host that answers, and how many questions to it may be under way. Who waits is a
	// worker of the controller, which has 32. Nobody waits for a host that answers slowly, or not at all, and one that does
	// not answer is asked one question.
	places = 8

	// placesOfAsker is how many of one namespace may wait, whatever for.
	placesOfAsker = 16

	// unprovenCalls bounds the questions under way to hosts that have not answered, all together, and unprovenOfAsker those of
	// one namespace: a tenant may invent any number of hosts.
	unprovenCalls   = 256
	unprovenOfAsker = 64

	// slowAnswer is how long an answer may take before nobody waits for its host.
	slowAnswer = 3 * time.Second
)

// manner is how a host behaved the last time.
type manner int

const (
	unknown manner = iota
	answering
	answeringLate
	silent
)

// isPoor says that the host is known to keep people waiting.
func (m manner) isPoor() bool { return m == answeringLate || m == silent }

// shares counts what each asker has.
type shares map[string]int

func (s shares) take(asker string) { s[asker]++ }

func (s shares) give(asker string) {
	if s[asker]--; s[asker] == 0 {
		delete(s, asker)
	}
}

// turn says whether a question could be asked, without asking it.
func (q *quotas) turn(at location) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, h := q.clock.Now(), q.host(at.address())
	if err := h.closed(now); err != nil {
		return q.explain(err, at)
	}
	if h.isFull(max(h.waiters, h.calls)) || h.requests.TokensAt(now) < 1 {
		return q.later(h, "others are there")
	}
	return nil
}

func (h *host) isFull(taken int) bool {
	if h.manner == answering || h.manner == answeringLate {
		return taken >= places
	}
	return taken >= 1
}

// enter gives somebody a place to wait for a host that answers, or none at once. For other hosts nobody waits, so that
// leave is nil.
func (q *quotas) enter(at location, asker string) (leave func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.host(at.address())
	if h.manner != answering {
		return nil, nil
	}
	if h.isFull(h.waiters) || q.waiting[asker] >= placesOfAsker {
		return nil, q.later(h, "others are there")
	}
	h.waiters++
	q.waiting.take(asker)
	return func() { q.leave(h, asker) }, nil
}

func (q *quotas) leave(h *host, asker string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h.waiters--
	q.waiting.give(asker)
}

// begin counts a question under way, or refuses it. Whoever asked may leave before it ends.
func (q *quotas) begin(at location, asker string) (end func(error), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, h := q.clock.Now(), q.host(at.address())
	if err := h.closed(now); err != nil {
		return nil, q.explain(err, at)
	}
	isProven := h.manner == answering
	if h.isFull(h.calls) || !isProven && (q.unproven >= unprovenCalls || q.unprovenOf[asker] >= unprovenOfAsker) {
		return nil, q.later(h, "others ask it")
	}
	h.calls++
	if isProven {
		return func(err error) { q.end(h, now, err) }, nil
	}
	q.unproven++
	q.unprovenOf.take(asker)
	return func(err error) { q.endUnproven(h, asker, now, err) }, nil
}

func (q *quotas) endUnproven(h *host, asker string, began time.Time, err error) {
	q.end(h, began, err)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unproven--
	q.unprovenOf.give(asker)
}

func (q *quotas) end(h *host, began time.Time, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h.calls--
	var failure *Error
	switch {
	case isPostponed(err) || isClosed(err):
	case errors.As(err, &failure) && failure.reason == v1.ReasonRefusedByPolicy:
	case failure != nil && failure.reason == v1.ReasonUnavailable:
		h.manner = silent
	case q.clock.Since(began) > q.slow:
		h.manner = answeringLate
	default:
		h.manner = answering
	}
}

// underWay is for somebody who does not wait for the answer.
func (q *quotas) underWay(at location) *Postponed {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.later(q.host(at.address()), "the answer is under way")
}

// keptWaiting is for somebody who waited in vain. Whether the host is silent shows when its answer comes, or does not.
func (q *quotas) keptWaiting(at location) *Postponed {
	q.mu.Lock()
	if h := q.host(at.address()); h.manner == answering {
		h.manner = answeringLate
	}
	q.mu.Unlock()
	return q.underWay(at)
}

// isClosed says whether a host was not even asked.
func isClosed(err error) bool {
	var closed *closedError
	return errors.As(err, &closed)
}
