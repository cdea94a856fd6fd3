package tag

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/images-io/tagger/internal/generation"
)

// maintenance is when a Tag's images in the internal registry are looked after next.
type maintenance struct {
	verify, prune time.Time
	// asked is when a check was requested last: a verification that began before does not answer it.
	asked time.Time
	// tries to take something away, since something was there to take.
	tries int
	// isFinalizing: the Tag is deleted, and its tries are counted anew.
	isFinalizing bool
	// failures is how often, one after the other, something could not be taken away.
	failures int
	// denied is since when the registry refuses to delete a generation, and warned says that an event reported it.
	denied map[int64]time.Time
	warned bool
}

// maintenanceOf is when to look next. A Tag that this process does not know yet is verified at the time that is given.
func (m *State) maintenanceOf(name types.NamespacedName, verify time.Time) maintenance {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.maintenance[name]
	if !ok {
		known = &maintenance{verify: verify}
		m.maintenance[name] = known
	}
	return *known
}

// update changes what is known.
func (m *State) update(name types.NamespacedName, change func(*maintenance)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.maintenance[name] == nil {
		m.maintenance[name] = &maintenance{}
	}
	change(m.maintenance[name])
}

// verifyAt has the generation in use verified again at that time.
func (m *State) verifyAt(name types.NamespacedName, again time.Time) {
	m.update(name, func(u *maintenance) { u.verify = again })
}

// checkRequested has the generation in use verified at once, and once more if that is in progress already.
func (m *State) checkRequested(name types.NamespacedName, now time.Time) {
	m.update(name, func(u *maintenance) { u.verify, u.asked = now, now })
}

// verifiedSince has the generation in use verified again at that time, or at once where a check was requested after the verification began.
func (m *State) verifiedSince(name types.NamespacedName, began, again time.Time) {
	m.update(name, func(u *maintenance) {
		if u.verify = again; u.asked.After(began) {
			u.verify = u.asked
		}
	})
}

// pruneLater counts a try to take something away, and says how long to wait for the next.
func (m *State) pruneLater(name types.NamespacedName, now time.Time) (tries int, wait time.Duration) {
	m.update(name, func(u *maintenance) {
		wait = generation.PruneAgain(u.tries)
		u.tries++
		u.prune = now.Add(wait)
		tries = u.tries
	})
	return tries, wait
}

// pruneAt has another try made at that time, whatever became of those before.
func (m *State) pruneAt(name types.NamespacedName, again time.Time) {
	m.update(name, func(u *maintenance) { u.prune = again })
}

// nextFinalizeAttempt is when a Tag that is deleted tries next to take away what it has.
func (m *State) nextFinalizeAttempt(name types.NamespacedName) (due time.Time) {
	m.update(name, func(u *maintenance) {
		if !u.isFinalizing {
			*u = maintenance{isFinalizing: true}
		}
		due = u.prune
	})
	return due
}

// resetPrune has what a new generation pushes out of the history looked at anew.
func (m *State) resetPrune(name types.NamespacedName) {
	m.update(name, func(u *maintenance) { u.tries, u.prune = 0, time.Time{} })
}

// countPruneFailures counts how often, one after the other, something could not be taken away.
func (m *State) countPruneFailures(name types.NamespacedName, again bool) (failures int) {
	m.update(name, func(u *maintenance) {
		if u.failures++; !again {
			u.failures = 0
		}
		failures = u.failures
	})
	return failures
}

// recordDeleteDenied notes that the registry refuses to delete generations. It returns those that it has refused for long enough to be
// believed, and whether no event reported it before.
func (m *State) recordDeleteDenied(name types.NamespacedName, generations []int64, now time.Time) (believed []int64, isNews bool) {
	m.update(name, func(u *maintenance) {
		for _, generation := range generations {
			since, known := u.denied[generation]
			switch {
			case !known && u.denied == nil:
				u.denied = map[int64]time.Time{generation: now}
			case !known:
				u.denied[generation] = now
			case now.Sub(since) >= denialConfirmed:
				believed = append(believed, generation)
			}
		}
		isNews = !u.warned && len(generations) > 0
		u.warned = u.warned || isNews
	})
	return believed, isNews
}

// forgetDenied drops generations whose deletion was refused for long enough.
func (m *State) forgetDenied(name types.NamespacedName, generations []int64) {
	m.update(name, func(u *maintenance) {
		for _, generation := range generations {
			delete(u.denied, generation)
		}
	})
}

// JobEnded makes the Tag's verification due where it waits for the job.
func (m *State) JobEnded(name types.NamespacedName) {
	now := m.clock.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.maintenance[name]; known != nil && known.verify.Before(now.Add(progressInterval)) {
		known.verify = now
	}
}

// progressInterval is how often a Tag says how far its copy is.
const progressInterval = 5 * time.Second

// denialConfirmed is for how long a registry must refuse to delete before Tagger stops asking: one that is read-only while it
// collects its garbage refuses, too.
const denialConfirmed = time.Hour
