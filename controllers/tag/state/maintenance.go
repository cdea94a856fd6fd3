package state

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/images-io/tagger/internal/generation"
)

// Maintenance is when a Tag's images in the internal registry are verified and pruned next.
type Maintenance struct {
	Verify, Prune time.Time
	// asked is when a check was requested last: a verification that began before does not fulfil it.
	asked time.Time
	// tries to take something away, since something was there to take.
	tries int
	// isFinalizing: the Tag is deleted, and its tries are counted anew.
	isFinalizing bool
	// failures is the number of consecutive failures to delete an image.
	failures int
	// denied is since when the registry refuses to delete a generation, and warned says that an event reported it.
	denied map[int64]time.Time
	warned bool
}

// MaintenanceOf returns when to look next. A Tag that this process does not know yet is verified at the time that is given.
func (m *State) MaintenanceOf(name types.NamespacedName, verify time.Time) Maintenance {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.maintenance[name]
	if !ok {
		known = &Maintenance{Verify: verify}
		m.maintenance[name] = known
	}
	return *known
}

// update changes what is known.
func (m *State) update(name types.NamespacedName, change func(*Maintenance)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.maintenance[name] == nil {
		m.maintenance[name] = &Maintenance{}
	}
	change(m.maintenance[name])
}

// VerifyAt schedules the next verification of the generation in use.
func (m *State) VerifyAt(name types.NamespacedName, again time.Time) {
	m.update(name, func(u *Maintenance) { u.Verify = again })
}

// CheckRequested schedules a verification of the generation in use at once, and one more if one is in progress already.
func (m *State) CheckRequested(name types.NamespacedName, now time.Time) {
	m.update(name, func(u *Maintenance) { u.Verify, u.asked = now, now })
}

// VerifiedSince schedules the next verification of the generation in use, at once where a check was requested after the verification began.
func (m *State) VerifiedSince(name types.NamespacedName, began, again time.Time) {
	m.update(name, func(u *Maintenance) {
		if u.Verify = again; u.asked.After(began) {
			u.Verify = u.asked
		}
	})
}

// PruneLater counts a try to take something away, and says how long to wait for the next.
func (m *State) PruneLater(name types.NamespacedName, now time.Time) (tries int, wait time.Duration) {
	m.update(name, func(u *Maintenance) {
		wait = generation.PruneAgain(u.tries)
		u.tries++
		u.Prune = now.Add(wait)
		tries = u.tries
	})
	return tries, wait
}

// PruneAt schedules the next attempt, whatever the results of those before.
func (m *State) PruneAt(name types.NamespacedName, again time.Time) {
	m.update(name, func(u *Maintenance) { u.Prune = again })
}

// NextFinalizeAttempt returns when a deleted Tag tries next to delete its images.
func (m *State) NextFinalizeAttempt(name types.NamespacedName) (due time.Time) {
	m.update(name, func(u *Maintenance) {
		if !u.isFinalizing {
			*u = Maintenance{isFinalizing: true}
		}
		due = u.Prune
	})
	return due
}

// ResetPrune makes pruning due at once, and forgets failed attempts.
func (m *State) ResetPrune(name types.NamespacedName) {
	m.update(name, func(u *Maintenance) { u.tries, u.Prune = 0, time.Time{} })
}

// CountPruneFailures counts consecutive failures to delete an image.
func (m *State) CountPruneFailures(name types.NamespacedName, again bool) (failures int) {
	m.update(name, func(u *Maintenance) {
		if u.failures++; !again {
			u.failures = 0
		}
		failures = u.failures
	})
	return failures
}

// RecordDeleteDenied notes that the registry refuses to delete generations. It returns those that it has refused for long enough to be
// believed, and whether no event reported it before.
func (m *State) RecordDeleteDenied(name types.NamespacedName, generations []int64, now time.Time) (believed []int64, isNews bool) {
	m.update(name, func(u *Maintenance) {
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

// ForgetDenied drops generations whose deletion was refused for long enough.
func (m *State) ForgetDenied(name types.NamespacedName, generations []int64) {
	m.update(name, func(u *Maintenance) {
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
	if known := m.maintenance[name]; known != nil && known.Verify.Before(now.Add(ProgressInterval)) {
		known.Verify = now
	}
}

// ProgressInterval is how often a Tag says how far its copy is.
const ProgressInterval = 5 * time.Second

// denialConfirmed is for how long a registry must refuse to delete before Tagger stops asking: one that is read-only while it
// collects its garbage refuses, too.
const denialConfirmed = time.Hour
