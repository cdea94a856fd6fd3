package state

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/event"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/generation"
	"github.com/images-io/tagger/internal/jobs"
)

// maxNamespaces bounds for how many namespaces is known when their pull secrets changed. A Tag that fails in one that is
// forgotten waits until its next try is due.
const maxNamespaces = 4096

// State is what a process knows about Tags that is in no object: when registries were asked, and when something
// changed that imports depend on. Losing it costs one early
// check a Tag, no more.
type State struct {
	clock      clock.PassiveClock
	Retriggers chan event.GenericEvent

	mu            sync.Mutex
	checks        map[types.NamespacedName]check
	maintenance   map[types.NamespacedName]*Maintenance
	secrets       *lru.Cache // when pull secrets changed, by namespace
	configuration time.Time
}

// check is when the registry was asked for a Tag last, or else when this process saw it first, and the requested check
// that was tried.
type check struct {
	At      time.Time
	Request string
	// Repeat is when to check once more; zero means never.
	Repeat  time.Time
	pending pendingRequest
}

// pendingRequest is a request without a response, with the time since which a caller waits and the time at which it may be sent.
type pendingRequest struct {
	key   string
	since time.Time
	hold  generation.Hold
	// job is the job that the hold is for, if hasJob: its end ends the hold.
	job    jobs.Kind
	hasJob bool
}

// HoldFor returns what holds a request back: a hold for a job ends with the job, and another request has none.
func (c check) HoldFor(key string, inProgress func(jobs.Kind) bool) generation.Hold {
	if c.pending.key != key || c.pending.hasJob && !inProgress(c.pending.job) {
		return generation.Hold{}
	}
	return c.pending.hold
}

// NewState knows nothing yet. The configuration counts as changed: it may have, while no process looked.
func NewState(clock clock.PassiveClock) *State {
	return &State{
		clock:         clock,
		Retriggers:    make(chan event.GenericEvent, 1),
		checks:        map[types.NamespacedName]check{},
		maintenance:   map[types.NamespacedName]*Maintenance{},
		secrets:       lru.New(maxNamespaces),
		configuration: clock.Now(),
	}
}

// ConfigurationChanged enqueues every failing Tag.
func (m *State) ConfigurationChanged() {
	m.mu.Lock()
	m.configuration = m.clock.Now()
	m.mu.Unlock()
	select {
	case m.Retriggers <- event.GenericEvent{Object: &v1.Tag{}}:
	default: // one is waiting already, and it will see this change too
	}
}

// Checked returns the last check of the Tag.
func (m *State) Checked(name types.NamespacedName, now time.Time) check {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.checks[name]; !known {
		m.checks[name] = check{At: now}
	}
	return m.checks[name]
}

// RecordChecked notes that the registry was asked for a Tag, and for which request.
func (m *State) RecordChecked(name types.NamespacedName, now time.Time, request string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks[name] = check{At: now, Request: request}
}

// RepeatAt schedules one more check, unless another one is recorded before.
func (m *State) RepeatAt(name types.NamespacedName, again time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.checks[name]
	known.Repeat = again
	m.checks[name] = known
}

// Wanted returns since when the result of a request is wanted: now, if the request is new.
func (m *State) Wanted(name types.NamespacedName, key string, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.checks[name]
	if known.pending.key != key || known.pending.since.IsZero() {
		known.pending = pendingRequest{key: key, since: now}
		m.checks[name] = known
	}
	return known.pending.since
}

// Hold makes a request wait.
func (m *State) Hold(name types.NamespacedName, key string, hold generation.Hold) {
	m.setHold(name, pendingRequest{key: key, hold: hold})
}

// HoldForJob makes a request wait while a job is in progress.
func (m *State) HoldForJob(name types.NamespacedName, key string, hold generation.Hold, job jobs.Kind) {
	m.setHold(name, pendingRequest{key: key, hold: hold, job: job, hasJob: true})
}

func (m *State) setHold(name types.NamespacedName, request pendingRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.checks[name]
	if known.pending.key == request.key {
		request.since = known.pending.since
	}
	known.pending = request
	m.checks[name] = known
}

// Forget drops what is known about a Tag.
func (m *State) Forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.checks, name)
	delete(m.maintenance, name)
}

// Changed returns when something changed last that imports in the namespace depend on.
func (m *State) Changed(namespace string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kept, known := m.secrets.Get(namespace); known && kept.(time.Time).After(m.configuration) {
		return kept.(time.Time)
	}
	return m.configuration
}

// SecretsChanged notes that pull secrets of a namespace changed.
func (m *State) SecretsChanged(namespace string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.secrets.Add(namespace, m.clock.Now())
}
