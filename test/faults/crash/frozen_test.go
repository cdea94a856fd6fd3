//go:build faults

package crash

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/seed"
)

// freezes is the number of leaders that are suspended while generations change, and answers the number while they wait for a
// registry.
const freezes, answers = 4, 3

// TestALeaderIsFrozenPastItsLease suspends the leader's process until another one leads, and resumes it: until the deadline of
// a renewal there are two leaders, one of them with an old state.
func TestALeaderIsFrozenPastItsLease(t *testing.T) {
	p := newPlane(t) // not in parallel: the suspended manager must still be the leader, which a busy machine may prevent
	managers := p.newPair()
	m := p.newMover(seed.New(t), "moving")
	h := p.watchHistory(m.namespace)
	for n := 1; n <= freezes; n++ {
		stop := m.start()
		managers = p.freeze(p.leads(managers.leader, managers.other), func() {})
		stop()
		t.Logf("freeze %d of %d", n, freezes)
	}
	managers = m.settles(h, managers)
	for n := 1; n <= answers; n++ {
		managers = m.freezeWithAnswers(managers, 1000*n)
		t.Logf("freeze %d of %d with answers of the registry on their way", n, answers)
	}
	m.settles(h, managers)
}

// freeze suspends the leader until another one leads, and has made a change. Then it waits for the suspended one to find that
// it has lost the lease, and to exit.
func (p *plane) freeze(managers pair, do func()) pair {
	p.t.Helper()
	frozen := managers.leader
	p.service.remove(frozen.endpoint) // it does not respond to probes
	p.signal(frozen, syscall.SIGSTOP)
	next := p.leads(managers.other, p.shipped())
	do()
	p.signal(frozen, syscall.SIGCONT)
	p.eventually("the frozen leader to end", func(context.Context) error {
		if !frozen.hasEnded() {
			return fmt.Errorf("it lives")
		}
		return nil
	})
	if frozen.State().ExitCode() != 1 {
		p.t.Errorf("the frozen leader ended with %s, want exit status 1", frozen.State())
	}
	return next
}

func (p *plane) signal(m *manager, signal syscall.Signal) {
	p.t.Helper()
	if err := m.Signal(signal); err != nil {
		p.t.Fatalf("%v; it ended with %s, and said at last: %s", err, m.State(), m.said())
	}
}

// freezeWithAnswers requests a check of every Tag, and suspends the leader while the registry's responses are on their way to
// it. The other one handles the same requests and newer ones. There are no new digests: only the numbers of the requests
// change.
func (m *mover) freezeWithAnswers(managers pair, first int) pair {
	m.t.Helper()
	managers = m.leads(managers.leader, managers.other)
	m.registry.close()
	m.requestAll(first)
	m.eventually("the leader to ask the registry, and to be frozen", func(context.Context) error {
		if managers.leader.hasEnded() {
			managers = m.leads(managers.leader, managers.other)
			m.registry.open() // the gate holds the requests of one leader after the other
			m.registry.close()
		}
		if held := m.registry.held(); held < 5 { // of the 8 concurrent requests to one registry
			return fmt.Errorf("it has asked %d times", held)
		}
		return managers.leader.Signal(syscall.SIGSTOP)
	})
	m.registry.open()
	return m.freeze(managers, func() {
		m.handled(first)
		m.requestAll(first + 1)
		m.handled(first + 1)
	})
}

// requestAll requests a check of every Tag, until no other client changes it at the same time.
func (m *mover) requestAll(request int) {
	m.t.Helper()
	m.each(func(moved *movedTag) error {
		moved.requests = request
		tag := newTag(m.namespace, moved.name, "")
		return m.patch(tag, fmt.Sprintf(`{"metadata":{"annotations":{%q:"%d"}}}`, v1.AnnotationRequestedCheck, request))
	})
}

func (m *mover) handled(request int) {
	m.t.Helper()
	m.eventually(fmt.Sprint("all Tags to have handled request ", request), func(ctx context.Context) error {
		tags, err := m.list(ctx)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if tag.Status.LastHandledRequest != strconv.Itoa(request) {
				return fmt.Errorf("Tag %s has handled %q", tag.Name, tag.Status.LastHandledRequest)
			}
		}
		return nil
	})
}
