package jobs

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// resolves submits a number of resolves of a namespace at a host, one for each Tag.
func (y *yard) resolves(namespace, host string, count int) {
	for i := range count {
		_ = y.orderAs(Resolve, "", tagOf(namespace, fmt.Sprintf("%s-%s-%d", namespace, host, i)), host, 0)
	}
}

// count returns how many resolves of a namespace run.
func (y *yard) count(namespace string) (count int) {
	y.Queue.mu.Lock()
	defer y.Queue.mu.Unlock()
	return y.fair.namespaces[namespace]
}

func (y *yard) has(why string, namespace string, want int) {
	y.t.Helper()
	if got := y.count(namespace); got != want {
		y.t.Errorf("%s: %d resolves of %s run, want %d", why, got, namespace, want)
	}
}

func TestResolves_HalfOfAHostForOneNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		y.resolves("evil", "quay.io", 100)
		y.has("alone", "evil", tenantResolves)
		y.resolves("a", "quay.io", 3)
		y.has("others start at once", "a", 3)
		y.resolves("b", "quay.io", 3)
		y.has("the host has its 8", "b", 1)
		y.end("evil-quay.io-0", nil)
		y.has("the namespace with the fewest is next", "b", 2)
		y.has("and not the one with the most", "evil", tenantResolves-1)
	})
}

// TestUnresponsiveHosts_DoNotDelayOthers: a namespace invents any number of hosts that do not respond.
func TestUnresponsiveHosts_DoNotDelayOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		for host := range 40 {
			y.resolves("evil", fmt.Sprintf("silent-%d.test", host), 4)
		}
		y.has("a namespace is bounded", "evil", maxNamespaceResolves)
		for tenant := range 10 {
			y.resolves(fmt.Sprint("tenant-", tenant), fmt.Sprintf("other-%d.test", tenant), 20)
		}
		for namespace := range 50 { // more than there is room for
			for host := range 16 {
				y.resolves(fmt.Sprint("crowd-", namespace), fmt.Sprintf("crowd-%d.test", host), 4)
			}
		}
		y.resolves("late", "quay.io", 10)
		y.has("a namespace always has some", "late", tenantResolves)
	})
}

// unreachableError says that a host could not be reached.
type unreachableError struct{ error }

func (unreachableError) Unreachable() (unreachable, isKnown bool) { return true, true }

func TestUnreachableHost_GetsOneResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		y.resolves("dev", "down.test", 1)
		y.end("dev-down.test-0", unreachableError{errors.New("refused")})
		y.resolves("a", "down.test", 3)
		y.resolves("b", "down.test", 3)
		y.has("one probes", "a", 1)
		y.has("and no other", "b", 0)
		y.end("a-down.test-0", errors.New("which does not tell"))
		y.has("the namespaces alternate", "b", 1)
		y.has("the namespaces alternate", "a", 0)
		y.end("b-down.test-0", nil)
		y.has("it works again", "a", 2)
		y.has("it works again", "b", 2)
	})
}

func TestResolves_CanceledOnesLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		y.resolves("dev", "quay.io", 20)
		for i := range 20 {
			y.Cancel(tagOf("dev", fmt.Sprintf("dev-quay.io-%d", i)).NamespacedName)
		}
		synctest.Wait()
		y.has("those that run go on", "dev", tenantResolves)
		for i := range tenantResolves {
			y.end(fmt.Sprintf("dev-quay.io-%d", i), nil)
		}
		if len(y.fair.hosts) != 0 || len(y.fair.namespaces) != 0 || y.fair.resolves != 0 || len(y.tags) != 0 {
			t.Errorf("%d hosts, %d namespaces, %d resolves, %d Tags are left", len(y.fair.hosts), len(y.fair.namespaces), y.fair.resolves, len(y.tags))
		}
	})
}

// TestResolves_ReplacedOneKeepsItsPlace: its request goes on, so a Tag that is edited all the time would have any number of requests.
func TestResolves_ReplacedOneKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		for i := range 20 {
			_ = y.orderAs(Resolve, fmt.Sprint(i), tagOf("dev", "edited"), "slow.test", 0)
		}
		y.has("20 edits", "dev", tenantResolves)
	})
}

// BenchmarkScheduler measures a resolve of 10,000 that wait, of 20 namespaces at 10 hosts.
func BenchmarkScheduler(b *testing.B) {
	s, now := newScheduler(1), time.Now()
	running := []*task{}
	add := func(i int) {
		s.add(&task{Job: Job{Kind: Resolve, Registry: fmt.Sprint("host-", i%10)}, owner: tagOf(fmt.Sprint("ns-", i%20), fmt.Sprint(i))})
	}
	for i := range 10_000 {
		add(i)
	}
	for i := 0; b.Loop(); i++ {
		running = append(running, s.start(now)...)
		s.end(running[0], nil)
		running = running[1:]
		add(i)
	}
}
