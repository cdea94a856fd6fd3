package jobs

import (
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
)

const (
	// hostResolves is the number of resolves at a time at one host, and tenantResolves that of one namespace at one host: half, so that
	// one namespace does not delay the others. A host that cannot be reached gets one.
	hostResolves   = 8
	tenantResolves = hostResolves / 2

	// maxResolves bounds the resolves at a time in all, and maxNamespaceResolves those of one namespace: a tenant may invent any number of
	// hosts. Whatever the others have, a namespace has minNamespaceResolves.
	maxResolves          = 256
	maxNamespaceResolves = 64
	minNamespaceResolves = hostResolves

	// maxUnreachable bounds the hosts that are known not to be reachable.
	maxUnreachable = 4096
)

// scheduler decides which job starts when.
//
// Resolves: at most 8 at a time at one host, 4 of them of one namespace, and 1 where the host could not be reached the last time. Of the
// namespaces that wait for a host the one with the fewest running is next, then the one that was served least recently; a namespace's own
// jobs start in order. In all 256 run at a time, 64 of one namespace, which always has 8.
//
// Copies: as many at a time as the limit says that make progress. Those that stall make room for as many again, and no more than half of
// these at one registry. A namespace without a copy has one beside them, even where a few namespaces have all places: three times the limit
// in all. So neither a slow registry nor a namespace full of Tags delays the others. Imports come before verifications, then the registry
// with the fewest copies, then the namespace with the fewest, then the job that came first.
//
// It is not safe for concurrent use.
type scheduler struct {
	// resolves
	hosts       map[string]*hostQueue
	namespaces  map[string]int // resolves that run, by namespace
	resolves    int            // resolves that run
	started     int64          // resolves that were started ever
	unreachable *lru.Cache

	// copies
	limit   int
	waiting []*task
	running map[*task]bool
}

// hostQueue is the resolves at one host.
type hostQueue struct {
	running int
	tenants map[string]*tenantQueue
}

// tenantQueue is the resolves of one namespace at one host.
type tenantQueue struct {
	running int
	// served is when the last one started, as a count.
	served  int64
	waiting []*task
}

func newScheduler(copies int) *scheduler {
	return &scheduler{
		hosts: map[string]*hostQueue{}, namespaces: map[string]int{}, unreachable: lru.New(maxUnreachable),
		limit: copies, running: map[*task]bool{},
	}
}

// add puts a job into the queue.
func (s *scheduler) add(t *task) {
	if t.Kind != Resolve {
		s.waiting = append(s.waiting, t)
		return
	}
	tenant := s.tenant(t)
	tenant.waiting = append(tenant.waiting, t)
}

// remove takes a job out of the queue that waits.
func (s *scheduler) remove(t *task) {
	isIt := func(other *task) bool { return other == t }
	if t.Kind != Resolve {
		s.waiting = slices.DeleteFunc(s.waiting, isIt)
		return
	}
	tenant := s.tenant(t)
	tenant.waiting = slices.DeleteFunc(tenant.waiting, isIt)
	s.tidy(t)
}

// start returns the jobs that may start now, and counts them as running.
func (s *scheduler) start(now time.Time) (tasks []*task) {
	for name, host := range s.hosts {
		for t := s.nextResolve(name, host); t != nil; t = s.nextResolve(name, host) {
			tasks = append(tasks, t)
		}
	}
	for next := s.nextCopy(now); next >= 0; next = s.nextCopy(now) {
		t := s.waiting[next]
		s.waiting = slices.Delete(s.waiting, next, next+1)
		s.running[t] = true
		t.movedAt = now
		tasks = append(tasks, t)
	}
	return tasks
}

// end counts the end of a job.
func (s *scheduler) end(t *task, err error) {
	if t.Kind != Resolve {
		delete(s.running, t)
		return
	}
	namespace := t.owner.Namespace
	s.hosts[t.Registry].running--
	s.hosts[t.Registry].tenants[namespace].running--
	s.resolves--
	if s.namespaces[namespace]--; s.namespaces[namespace] == 0 {
		delete(s.namespaces, namespace)
	}
	s.observe(t.Registry, err)
	s.tidy(t)
}

// observe notes whether a host could be reached. An error that does not tell changes nothing.
func (s *scheduler) observe(host string, err error) {
	isUnreachable, isKnown := false, err == nil
	var told unreachable
	if errors.As(err, &told) {
		isUnreachable, isKnown = told.Unreachable()
	}
	switch {
	case isUnreachable:
		s.unreachable.Add(host, nil)
	case isKnown:
		s.unreachable.Remove(host)
	}
}

// nextResolve takes the resolve that is next at a host out of the queue, or returns nil.
func (s *scheduler) nextResolve(name string, host *hostQueue) *task {
	limit := hostResolves
	if _, isUnreachable := s.unreachable.Get(name); isUnreachable {
		limit = 1
	}
	if host.running >= limit {
		return nil
	}
	var next *tenantQueue
	for namespace, tenant := range host.tenants {
		if len(tenant.waiting) == 0 || tenant.running >= tenantResolves || !s.hasRoom(namespace) {
			continue
		}
		if next == nil || tenant.running < next.running || tenant.running == next.running && tenant.served < next.served {
			next = tenant
		}
	}
	if next == nil {
		return nil
	}
	t := next.waiting[0]
	next.waiting = next.waiting[1:]
	s.started++
	s.resolves++
	s.namespaces[t.owner.Namespace]++
	host.running++
	next.running, next.served = next.running+1, s.started
	return t
}

// hasRoom reports whether one more resolve of a namespace may run.
func (s *scheduler) hasRoom(namespace string) bool {
	own := s.namespaces[namespace]
	return own < maxNamespaceResolves && (s.resolves < maxResolves || own < minNamespaceResolves)
}

// tenant returns the queue of a job.
func (s *scheduler) tenant(t *task) *tenantQueue {
	host := s.hosts[t.Registry]
	if host == nil {
		host = &hostQueue{tenants: map[string]*tenantQueue{}}
		s.hosts[t.Registry] = host
	}
	tenant := host.tenants[t.owner.Namespace]
	if tenant == nil {
		tenant = &tenantQueue{}
		host.tenants[t.owner.Namespace] = tenant
	}
	return tenant
}

// tidy drops queues that are empty.
func (s *scheduler) tidy(t *task) {
	host := s.hosts[t.Registry]
	if tenant := host.tenants[t.owner.Namespace]; tenant.running == 0 && len(tenant.waiting) == 0 {
		delete(host.tenants, t.owner.Namespace)
	}
	if len(host.tenants) == 0 {
		delete(s.hosts, t.Registry)
	}
}

// nextCopy returns the index of the copy that is next, or -1.
func (s *scheduler) nextCopy(now time.Time) int {
	moving, stalled := 0, map[string]int{}
	registries, namespaces, tags := map[string]int{}, map[string]int{}, map[types.NamespacedName]bool{}
	for t := range s.running {
		tags[t.owner.NamespacedName] = true
		registries[t.Registry]++
		namespaces[t.owner.Namespace]++
		if now.Sub(t.movedAt) < stallThreshold {
			moving++
		} else {
			stalled[t.Registry]++
		}
	}
	isFull := len(s.running) >= 2*s.limit
	if isFull && len(namespaces) > s.limit {
		return -1
	}
	best := -1
	for i, t := range s.waiting {
		if tags[t.owner.NamespacedName] {
			continue // one that was canceled, and has not ended, may still write the same tag
		}
		if stalled[t.Registry] >= s.limit {
			continue
		}
		if (isFull || moving >= s.limit || stalled[t.Registry] >= max(s.limit/2, 1)) && namespaces[t.owner.Namespace] > 0 {
			continue
		}
		if best < 0 || isBefore(t, s.waiting[best], registries, namespaces) {
			best = i
		}
	}
	return best
}

// isBefore reports whether a copy is before another one, which came first. Users wait for imports.
func isBefore(t, other *task, registries, namespaces map[string]int) bool {
	if (t.Kind == Verify) != (other.Kind == Verify) {
		return other.Kind == Verify
	}
	byRegistry := registries[t.Registry] - registries[other.Registry]
	return byRegistry < 0 || byRegistry == 0 && namespaces[t.owner.Namespace] < namespaces[other.owner.Namespace]
}

// copies reports whether a copy for a Tag runs.
func (s *scheduler) copies(tag types.NamespacedName) bool { return len(s.generations(tag)) > 0 }

// generations returns the generations that copies for a Tag run for.
func (s *scheduler) generations(tag types.NamespacedName) (generations []int64) {
	for t := range s.running {
		if t.owner.NamespacedName == tag {
			generations = append(generations, t.Generation)
		}
	}
	return generations
}
