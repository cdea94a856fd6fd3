package importer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

const (
	// standsStill is after how long without a piece, in bytes, a copy does not count any more: another one takes its place beside
	// it. What comes slower than that would keep its place for days.
	standsStill = 2 * time.Second
	piece       = 1 << 20
	// look is how often copies are looked at that may stand still, and so what waits for them.
	look = 500 * time.Millisecond
)

// Copies copies images beside the reconcilers: a worker does not wait for a copy, but begins it and comes back. As many as the limit
// move at a time; those that stand still, or crawl, make room for as many again, and no more than half of these for one registry. A
// namespace that none is copied for has one beside them, even where a few namespaces have all places: that is three times the limit
// in all. So neither a slow registry nor a namespace full of Tags holds up the others.
//
// It keeps one copy for each Tag, and its result until that counts or the Tag wants something else.
type Copies struct {
	clock clock.WithTicker
	limit int
	ended func(types.NamespacedName)
	wake  chan struct{}

	mu      sync.Mutex
	tags    map[types.NamespacedName]*copied
	waiting []*job
	running map[*job]bool
}

// copied is what is known of a Tag: which image a question was answered with, so that another try copies the same, and the copy.
type copied struct {
	uid              types.UID
	question, digest string
	job              *job
}

// job is one copy: waiting, running or done.
type job struct {
	tag      types.NamespacedName
	image    v1.MirroredImage
	to       reference.MirrorRepository // we may write elsewhere than we did, and nodes read it all the same
	registry string
	verifies bool // an image that is in use already
	run      run

	cancel   context.CancelFunc // of one that runs
	progress Progress
	moved    time.Time // when it had got on by a piece the last time
	bytes    int64     // how far it was then
	done     bool
	told     bool // that it began is written down
	given    bool // the result is known to who asked, and did not count yet
	result   Copied
	err      error
}

// NewCopies copies as many images at a time as the limit says, once Start is called.
func NewCopies(clock clock.WithTicker, limit int) *Copies {
	return &Copies{
		clock: clock, limit: limit, wake: make(chan struct{}, 1), ended: func(types.NamespacedName) {},
		tags: map[types.NamespacedName]*copied{}, running: map[*job]bool{},
	}
}

// OnEnd sets the function that is called for each copy that ended.
func (c *Copies) OnEnd(ended func(tag types.NamespacedName)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = ended
}

// NeedLeaderElection says that the one copies who imports.
func (c *Copies) NeedLeaderElection() bool { return true }

// Start runs copies until the context ends, and returns when they have ended.
func (c *Copies) Start(ctx context.Context) error {
	var copying sync.WaitGroup
	defer copying.Wait()
	ticker := c.clock.NewTicker(look)
	defer ticker.Stop()
	for {
		for _, run := range c.begin(ctx) {
			copying.Go(run)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-ticker.C():
		}
	}
}

// begin takes those out of the queue that there is room for.
func (c *Copies) begin(ctx context.Context) (runs []func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		next := c.next()
		if next < 0 {
			return runs
		}
		j := c.waiting[next]
		c.waiting = slices.Delete(c.waiting, next, next+1)
		running, cancel := context.WithCancel(ctx)
		j.cancel, j.moved = cancel, c.clock.Now()
		c.running[j] = true
		runs = append(runs, func() { c.finish(j, running) })
	}
}

// finish runs a job to its end.
func (c *Copies) finish(j *job, running context.Context) {
	began := c.clock.Now()
	result, err := j.run(running, func(p Progress) { c.progressed(j, p) })
	result.Began, result.Took = began, c.clock.Since(began)
	j.cancel()
	c.mu.Lock()
	j.done, j.result, j.err = true, result, err
	delete(c.running, j)
	ended := c.ended
	c.mu.Unlock()
	c.look()
	ended(j.tag)
}

// look has Start look for room.
func (c *Copies) look() {
	select {
	case c.wake <- struct{}{}:
	default: // it looks already
	}
}

func (c *Copies) progressed(j *job, p Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j.progress = p
	j.bytes = min(j.bytes, p.BytesDone) // what was sent in vain is sent again
	if p.BytesDone >= j.bytes+piece {
		j.bytes, j.moved = p.BytesDone, c.clock.Now()
	}
}

// copy is the result of a copy for a Tag, the same until Settle, or *UnderWay until there is one. It puts the copy into the queue where
// there is none, in place of one of another image, or to elsewhere.
func (c *Copies) copy(tag *v1.Tag, wanted job) (Copied, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.of(tag)
	if known.job != nil && (known.job.image != wanted.image || known.job.to != wanted.to) {
		c.drop(known)
	}
	if known.job == nil {
		wanted.tag = keyOf(tag)
		known.job = &wanted
		c.waiting = append(c.waiting, known.job)
		c.look()
	}
	j := known.job
	if !j.done {
		return Copied{}, &UnderWay{Image: j.image, Begins: !j.told, Waits: j.cancel == nil, Progress: j.progress}
	}
	j.given = true
	return j.result, j.err
}

// Settle says that what was given last for a Tag counts: it is written down. What could not be written is given again.
func (c *Copies) Settle(tag client.ObjectKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.tags[tag]
	if known == nil || known.job == nil {
		return
	}
	if known.job.told = true; !known.job.given {
		return
	}
	known.question, known.digest = known.retried(known.job.err)
	if known.job = nil; known.question == "" {
		delete(c.tags, tag)
	}
}

// retried is the question that another try need not ask, and its answer. What the source does not have, or was no image, may have
// become another one.
func (k *copied) retried(err error) (question, digest string) {
	var failed Failure
	if err == nil || errors.As(err, &failed) && (failed.Reason() == v1.ReasonNotFound || failed.Reason() == v1.ReasonInvalidContent) {
		return "", ""
	}
	return k.question, k.digest
}

// of is what is known of the very Tag.
func (c *Copies) of(tag *v1.Tag) *copied {
	known := c.tags[keyOf(tag)]
	if known != nil && known.uid != tag.UID {
		c.drop(known)
		known = nil
	}
	if known == nil {
		known = &copied{uid: tag.UID}
		c.tags[keyOf(tag)] = known
	}
	return known
}

// drop cancels a copy.
func (c *Copies) drop(known *copied) {
	j := known.job
	known.job = nil
	switch {
	case j == nil || j.done:
	case j.cancel != nil:
		j.cancel()
	default:
		c.waiting = slices.DeleteFunc(c.waiting, func(other *job) bool { return other == j })
	}
}

// note keeps which image a question was answered with.
func (c *Copies) note(tag *v1.Tag, question, digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.of(tag)
	known.question, known.digest = question, digest
}

// noted is the answer to a question, while the image is on its way or is tried again.
func (c *Copies) noted(tag *v1.Tag, question string) (digest string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.tags[keyOf(tag)]
	if known == nil || known.uid != tag.UID || question == "" || known.question != question {
		return "", false
	}
	return known.digest, true
}

// Copying are the generations of which an image is on its way for the Tag.
func (c *Copies) Copying(tag client.ObjectKey) (generations []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for j := range c.running {
		if j.tag == tag {
			generations = append(generations, j.image.Generation)
		}
	}
	if known := c.tags[tag]; known != nil && known.job != nil && !known.job.done && !slices.Contains(generations, known.job.image.Generation) {
		generations = append(generations, known.job.image.Generation)
	}
	return generations
}

func keyOf(tag *v1.Tag) types.NamespacedName { return client.ObjectKeyFromObject(tag) }
