// Package jobs runs jobs for Tags beside the reconcilers: resolves, and copies into the internal registry. A worker does not wait for a
// job: it submits the job, and the end of the job enqueues the Tag. Which job starts when is in fair.go.
package jobs

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/images-io/tagger/internal/transfer"
)

const (
	// stallThreshold is after how long without a step of progress a copy no longer counts as one that moves.
	stallThreshold = 2 * time.Second
	// progressStep is a step of progress, in bytes.
	progressStep = 1 << 20
	// wakeInterval is how often the queue looks for copies that stall.
	wakeInterval = 500 * time.Millisecond
)

// Queue runs jobs. It keeps the result of a job until it is acknowledged, or the Tag wants something else. It is safe for concurrent use.
type Queue struct {
	clock clock.WithTicker
	wakes chan struct{}

	mu    sync.Mutex
	onEnd func(types.NamespacedName)
	tags  map[types.NamespacedName]*entry
	fair  *scheduler
}

// entry is what the queue has for a Tag.
type entry struct {
	uid   types.UID
	tasks [lanes]*task
	// key and value are what Remember kept.
	key, value string
}

// New returns a queue that copies as many images at a time as copies says (see scheduler). Start runs it.
func New(clock clock.WithTicker, copies int) *Queue {
	return &Queue{
		clock: clock, wakes: make(chan struct{}, 1), onEnd: func(types.NamespacedName) {},
		tags: map[types.NamespacedName]*entry{}, fair: newScheduler(copies),
	}
}

// OnEnd sets the function that is called for each job that ended.
func (q *Queue) OnEnd(ended func(tag types.NamespacedName)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.onEnd = ended
}

// NeedLeaderElection returns true: the replica that imports runs the jobs.
func (q *Queue) NeedLeaderElection() bool { return true }

// Start runs jobs until the context ends, and returns when they have ended.
func (q *Queue) Start(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ticker := q.clock.NewTicker(wakeInterval)
	defer ticker.Stop()
	for {
		for _, run := range q.begin(ctx) {
			running.Go(run)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-q.wakes:
		case <-ticker.C():
		}
	}
}

// begin takes the jobs out of the queue that may start now.
func (q *Queue) begin(ctx context.Context) (runs []func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	for _, t := range q.fair.start(now) {
		running, cancel := context.WithCancel(ctx)
		t.cancel, t.movedAt, t.status.Began, t.status.Waits = cancel, now, now, false
		runs = append(runs, func() { q.run(t, running) })
	}
	return runs
}

// run runs a job to its end.
func (q *Queue) run(t *task, ctx context.Context) {
	err := t.Run(ctx, func(p transfer.Progress) { q.report(t, p) })
	t.cancel()
	q.mu.Lock()
	t.status.Done, t.status.Value, t.status.Err, t.status.Took = true, t.Value, err, q.clock.Since(t.status.Began)
	q.fair.end(t, err)
	ended := q.onEnd
	q.mu.Unlock()
	q.wake()
	ended(t.owner.NamespacedName)
}

// wake makes Start look for jobs that may start.
func (q *Queue) wake() {
	select {
	case q.wakes <- struct{}{}:
	default: // it looks already
	}
}

func (q *Queue) report(t *task, p transfer.Progress) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t.status.Progress = p
	t.moved = min(t.moved, p.BytesDone) // what failed is sent again
	if p.BytesDone >= t.moved+progressStep {
		t.moved, t.movedAt = p.BytesDone, q.clock.Now()
	}
}

// Do returns the status of a job, the same result until Ack. It submits the job where there is none, in place of one with another key or
// with a result that is too old. A result that says that nothing was done is given once.
func (q *Queue) Do(owner Owner, wanted Job) Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, at := q.entry(owner), wanted.Kind.lane()
	if t := e.tasks[at]; t != nil && (t.Key != wanted.Key || t.NotBefore.Before(wanted.NotBefore) && (t.status.Done || t.cancel == nil)) {
		q.cancel(e, at)
	}
	if e.tasks[at] == nil {
		e.tasks[at] = &task{Job: wanted, owner: owner, status: Status{IsNew: true, Waits: true}}
		q.fair.add(e.tasks[at])
		q.wake()
	}
	t := e.tasks[at]
	if t.given = t.status.Done; t.given {
		var later deferred
		if errors.As(t.status.Err, &later) {
			e.tasks[at] = nil
		}
	}
	return t.status
}

// Ack says that what Do returned last for a Tag is written down. What was not written is returned again.
func (q *Queue) Ack(tag types.NamespacedName) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.tags[tag]
	if e == nil {
		return
	}
	for at, t := range e.tasks {
		if t == nil {
			continue
		}
		if t.status.IsNew = false; !t.given {
			continue
		}
		e.tasks[at] = nil
		if t.Forgets != nil && t.Forgets(t.status.Err) {
			e.key, e.value = "", ""
		}
	}
	q.drop(tag, e)
}

// Remember keeps a value for a Tag, such as the digest of an image that is being copied, until a job Forgets it.
func (q *Queue) Remember(owner Owner, key, value string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entry(owner)
	e.key, e.value = key, value
}

// Recall returns the value that is kept for the key.
func (q *Queue) Recall(owner Owner, key string) (value string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.tags[owner.NamespacedName]
	if e == nil || e.uid != owner.UID || key == "" || e.key != key {
		return "", false
	}
	return e.value, true
}

// CancelStale cancels the copy for a Tag that no longer wants that generation, and drops what is kept for another Tag of the name.
func (q *Queue) CancelStale(owner Owner, wants func(generation int64, key string) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.tags[owner.NamespacedName]
	if e == nil {
		return
	}
	t := e.tasks[copyLane]
	if e.uid == owner.UID && (t == nil || wants(t.Generation, t.Key)) {
		return
	}
	q.cancelAll(owner.NamespacedName, e)
}

// Cancel cancels all jobs for a Tag. It returns whether they have ended, so that nothing more arrives in the internal registry.
func (q *Queue) Cancel(tag types.NamespacedName) (ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.tags[tag]; e != nil {
		q.cancelAll(tag, e)
	}
	return !q.fair.copies(tag)
}

// InProgress reports whether a job of the kind's lane waits or runs for a Tag.
func (q *Queue) InProgress(tag types.NamespacedName, kind Kind) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.tags[tag]
	return e != nil && e.tasks[kind.lane()] != nil && !e.tasks[kind.lane()].status.Done
}

// Copying returns the generations whose images are being copied, or wait for that, for a Tag.
func (q *Queue) Copying(tag types.NamespacedName) (generations []int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	generations = q.fair.generations(tag)
	if e := q.tags[tag]; e != nil {
		if t := e.tasks[copyLane]; t != nil && !t.status.Done && t.cancel == nil {
			generations = append(generations, t.Generation)
		}
	}
	return generations
}

// entry returns what the queue has for the very Tag.
func (q *Queue) entry(owner Owner) *entry {
	e := q.tags[owner.NamespacedName]
	if e != nil && e.uid != owner.UID {
		q.cancelAll(owner.NamespacedName, e)
		e = nil
	}
	if e == nil {
		e = &entry{uid: owner.UID}
		q.tags[owner.NamespacedName] = e
	}
	return e
}

func (q *Queue) cancelAll(tag types.NamespacedName, e *entry) {
	for at := range e.tasks {
		q.cancel(e, lane(at))
	}
	delete(q.tags, tag)
}

// cancel cancels one job. A resolve that runs goes on, and keeps its place at the host: other Tags may wait for the same request.
func (q *Queue) cancel(e *entry, at lane) {
	t := e.tasks[at]
	e.tasks[at] = nil
	switch {
	case t == nil || t.status.Done:
	case t.cancel == nil:
		q.fair.remove(t)
	case t.Kind != Resolve:
		t.cancel()
	}
}

// drop removes an entry that has nothing.
func (q *Queue) drop(tag types.NamespacedName, e *entry) {
	if e.key == "" && e.tasks == [lanes]*task{} {
		delete(q.tags, tag)
	}
}
