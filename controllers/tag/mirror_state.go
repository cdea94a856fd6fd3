package tag

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/images-io/tagger/internal/generation"
)

// upkeep is when a Tag's images in the internal registry are looked after next.
type upkeep struct {
	verify, collect time.Time
	// asked is when a check was requested last: a verification that began before does not answer it.
	asked time.Time
	// tries to take something away, since something was there to take.
	tries int
	// leaves: the Tag is deleted, and its tries are counted anew.
	leaves bool
	// failures is how often, one after the other, something could not be taken away.
	failures int
	// refused is since when the registry refuses to delete a generation, and warned says that an event reported it.
	refused map[int64]time.Time
	warned  bool
}

// upkeepOf is when to look next. A Tag that this process does not know yet is verified at the time that is given.
func (m *Memory) upkeepOf(name types.NamespacedName, verify time.Time) upkeep {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.upkeep[name]
	if !ok {
		known = &upkeep{verify: verify}
		m.upkeep[name] = known
	}
	return *known
}

// tend changes what is known.
func (m *Memory) tend(name types.NamespacedName, change func(*upkeep)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.upkeep[name] == nil {
		m.upkeep[name] = &upkeep{}
	}
	change(m.upkeep[name])
}

// verified has the generation in use verified again at that time.
func (m *Memory) verified(name types.NamespacedName, again time.Time) {
	m.tend(name, func(u *upkeep) { u.verify = again })
}

// checkRequested has the generation in use verified at once, and once more if that is in progress already.
func (m *Memory) checkRequested(name types.NamespacedName, now time.Time) {
	m.tend(name, func(u *upkeep) { u.verify, u.asked = now, now })
}

// verifiedSince has the generation in use verified again at that time, or at once where a check was requested after the verification began.
func (m *Memory) verifiedSince(name types.NamespacedName, began, again time.Time) {
	m.tend(name, func(u *upkeep) {
		if u.verify = again; u.asked.After(began) {
			u.verify = u.asked
		}
	})
}

// collectAgain counts a try to take something away, and says how long to wait for the next.
func (m *Memory) collectAgain(name types.NamespacedName, now time.Time) (tries int, wait time.Duration) {
	m.tend(name, func(u *upkeep) {
		wait = generation.CollectAgain(u.tries)
		u.tries++
		u.collect = now.Add(wait)
		tries = u.tries
	})
	return tries, wait
}

// collectAt has another try made at that time, whatever became of those before.
func (m *Memory) collectAt(name types.NamespacedName, again time.Time) {
	m.tend(name, func(u *upkeep) { u.collect = again })
}

// lastTry is when a Tag that is deleted tries next to take away what it has.
func (m *Memory) lastTry(name types.NamespacedName) (due time.Time) {
	m.tend(name, func(u *upkeep) {
		if !u.leaves {
			*u = upkeep{leaves: true}
		}
		due = u.collect
	})
	return due
}

// leavesHistory has what a new generation pushes out of the history looked at anew.
func (m *Memory) leavesHistory(name types.NamespacedName) {
	m.tend(name, func(u *upkeep) { u.tries, u.collect = 0, time.Time{} })
}

// failed counts how often, one after the other, something could not be taken away.
func (m *Memory) failed(name types.NamespacedName, again bool) (failures int) {
	m.tend(name, func(u *upkeep) {
		if u.failures++; !again {
			u.failures = 0
		}
		failures = u.failures
	})
	return failures
}

// deletionRefused notes that the registry refuses to delete generations. It returns those that it has refused for long enough to be
// believed, and whether no event reported it before.
func (m *Memory) deletionRefused(name types.NamespacedName, generations []int64, now time.Time) (believed []int64, isNews bool) {
	m.tend(name, func(u *upkeep) {
		for _, generation := range generations {
			since, known := u.refused[generation]
			switch {
			case !known && u.refused == nil:
				u.refused = map[int64]time.Time{generation: now}
			case !known:
				u.refused[generation] = now
			case now.Sub(since) >= refusalBelieved:
				delete(u.refused, generation)
				believed = append(believed, generation)
			}
		}
		isNews = !u.warned && len(generations) > 0
		u.warned = u.warned || isNews
	})
	return believed, isNews
}

// recollection is what is known of a Tag's checks and upkeep.
type recollection struct {
	check  check
	upkeep *upkeep
}

// recall is what is known now, for takeBack.
func (m *Memory) recall(name types.NamespacedName) recollection {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := recollection{check: m.checks[name]}
	if kept := m.upkeep[name]; kept != nil {
		copied := *kept
		copied.refused = maps.Clone(kept.refused)
		known.upkeep = &copied
	}
	return known
}

// takeBack is for a step that does not count, since its outcome could not be written: the Tag is as it was before, and nothing waits.
func (m *Memory) takeBack(name types.NamespacedName, known recollection) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known.check.open.bar = generation.Bar{}
	m.checks[name] = known.check
	if known.upkeep != nil {
		m.upkeep[name] = known.upkeep
	}
}

// CopyEnded has the Tag's copy looked at, whatever it waits for.
func (m *Memory) CopyEnded(name types.NamespacedName) {
	now := m.clock.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.checks[name]; ok {
		known.open.bar = generation.Bar{}
		m.checks[name] = known
	}
	if known := m.upkeep[name]; known != nil && known.verify.Before(now.Add(progressInterval)) {
		known.verify = now
	}
}
