package throttle

import (
	"errors"
	"time"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
)

const (
	// places is how many may wait for one host that answers, and how many questions to it may be under way. Nobody waits for a
	// host that answers late, or not at all, and one that does not answer is asked one question.
	places = 8

	// waiters is how many may wait, whatever for, and waitersOfAsker those of one namespace. Who waits is a worker of the
	// controller, which has 32. The other half never waits.
	waiters        = 16
	waitersOfAsker = 8

	// strays bounds the questions under way that nobody waits for, all together, and straysOfAsker those of one namespace: a
	// tenant may invent any number of hosts. Whatever the others have, a namespace may have as many as one host takes.
	strays        = 256
	straysOfAsker = 64
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

// Turn says whether a question could be asked, without asking it.
func (q *Throttler) Turn(ep endpoint.Endpoint) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, h := q.clock.Now(), q.host(ep.Address())
	if err := h.paused(now); err != nil {
		return q.Describe(err, ep)
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

// Enter gives somebody a place to wait for a host that answers soon. Where there is none, leave is nil: one may ask, and come
// back for the answer.
func (q *Throttler) Enter(ep endpoint.Endpoint, namespace string) (leave func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.host(ep.Address())
	if h.manner != answering || h.isFull(h.waiters) || !q.waiting.hasRoom(namespace) {
		return nil
	}
	h.waiters++
	q.waiting.take(namespace)
	return func() { q.leave(h, namespace) }
}

func (q *Throttler) leave(h *host, namespace string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h.waiters--
	q.waiting.give(namespace)
}

// Begin counts a question under way, or refuses it. isStray says that nobody waits for the answer from the start.
func (q *Throttler) Begin(ep endpoint.Endpoint, namespace string, isStray bool) (end func(error), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, h := q.clock.Now(), q.host(ep.Address())
	if err := h.paused(now); err != nil {
		return nil, q.Describe(err, ep)
	}
	if h.isFull(h.calls) || isStray && !q.strays.hasRoom(namespace) {
		return nil, q.later(h, "others ask it")
	}
	h.calls++
	if !isStray {
		return func(err error) { q.end(h, now, err) }, nil
	}
	q.strays.take(namespace)
	return func(err error) { q.endStray(h, namespace, now, err) }, nil
}

func (q *Throttler) endStray(h *host, namespace string, began time.Time, err error) {
	q.end(h, began, err)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.strays.give(namespace)
}

func (q *Throttler) end(h *host, began time.Time, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h.calls--
	var failure *regerr.Error
	switch {
	case IsPostponed(err) || IsClosed(err):
	case errors.As(err, &failure) && failure.Reason() == v1.ReasonRefusedByPolicy:
	case failure != nil && failure.Reason() == v1.ReasonUnavailable:
		h.manner = silent
	case q.clock.Since(began) > q.slow:
		h.manner = answeringLate
	default:
		h.manner = answering
	}
}

// UnderWay is for somebody who does not wait for the answer.
func (q *Throttler) UnderWay(ep endpoint.Endpoint) *Postponed {
	return q.comeBack(ep, "the answer is under way")
}

func (q *Throttler) comeBack(ep endpoint.Endpoint, why string) *Postponed {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.later(q.host(ep.Address()), why)
}

// KeptWaiting is for somebody who waited in vain. Whether the host is silent shows when its answer comes, or does not.
func (q *Throttler) KeptWaiting(ep endpoint.Endpoint) *Postponed {
	q.mu.Lock()
	if h := q.host(ep.Address()); h.manner == answering {
		h.manner = answeringLate
	}
	q.mu.Unlock()
	return q.UnderWay(ep)
}

// IsClosed says whether a host was not even asked.
func IsClosed(err error) bool {
	var closed *regerr.PausedError
	return errors.As(err, &closed)
}
