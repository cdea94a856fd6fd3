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

// freezes is how many leaders are frozen while Tags move, and answers how many while they wait for a registry's answer.
const freezes, answers = 4, 3

// TestALeaderIsFrozenPastItsLease stops the leader's process until another one leads, and lets it go on: for up to the
// deadline of a renewal there are two leaders then, one of them with what it knew before.
func TestALeaderIsFrozenPastItsLease(t *testing.T) {
	p := newPlane(t) // beside no other test: who is frozen has to lead still, and not to have lost its lease to a busy machine
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

// freeze freezes the leader until another one leads, and has done something. Then it waits for the frozen one to notice that
// it leads no more, which ends it.
func (p *plane) freeze(managers pair, do func()) pair {
	p.t.Helper()
	frozen := managers.leader
	p.service.remove(frozen.endpoint) // it answers no probe
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

// freezeWithAnswers has every Tag checked, and freezes the leader when the registry's answers are on their way to it. The
// other one handles the same requests and newer ones. There is nothing new: the numbers of the requests are all that changes.
func (m *mover) freezeWithAnswers(managers pair, first int) pair {
	m.t.Helper()
	managers = m.leads(managers.leader, managers.other)
	m.registry.close()
	m.requestAll(first)
	m.eventually("the leader to ask the registry, and to be frozen", func(context.Context) error {
		if managers.leader.hasEnded() {
			managers = m.leads(managers.leader, managers.other)
			m.registry.open() // the door is shut for one leader after the other
			m.registry.close()
		}
		if held := m.registry.held(); held < 5 { // of the 8 that may wait for one registry
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

// requestAll asks for a check of every Tag, until nobody changes it at the same time.
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
