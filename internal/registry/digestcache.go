package registry

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/throttle"
)

const (
	// maxDigests bounds the results that are kept, and digestLifetime for how long.
	maxDigests     = 4096
	digestLifetime = time.Minute
)

// resolveKey identifies what is resolved and as which credential. Results are never shared across credentials.
type resolveKey string

// digestCache resolves each key once at a time, and keeps the result for a minute. Each caller says how fresh its result must be.
type digestCache struct {
	clock clock.PassiveClock
	// timeout bounds a resolve, whatever the callers' contexts are.
	timeout time.Duration

	mu   sync.Mutex
	kept *lru.Cache
}

// resolveResult is complete when done is closed.
type resolveResult struct {
	began  time.Time
	done   chan struct{}
	digest string
	err    error
}

func newDigestCache(clock clock.PassiveClock, timeout time.Duration) *digestCache {
	return &digestCache{clock: clock, timeout: timeout, kept: lru.New(maxDigests)}
}

// get returns a result that began at notBefore or later: one that is kept, one that is in progress, or else a new one, which check may
// refuse. A resolve goes on when the caller that began it gives up. A caller that needs a fresher result than the one in progress waits for
// its end, and then begins one for all that came meanwhile.
func (c *digestCache) get(ctx context.Context, key resolveKey, notBefore time.Time, check func() error, resolve func(context.Context) (string, error)) (string, error) {
	for {
		found, isNew, err := c.join(ctx, key, notBefore, check, resolve)
		if err != nil {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-found.done:
		}
		if isNew || !found.began.Before(notBefore) {
			return found.digest, found.err
		}
	}
}

// join returns the result that is fresh or in progress, or begins a new one.
func (c *digestCache) join(ctx context.Context, key resolveKey, notBefore time.Time, check func() error, resolve func(context.Context) (string, error)) (found *resolveResult, isNew bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.lookup(key); found != nil && (!found.isDone() || c.isFresh(found, notBefore)) {
		return found, false, nil
	}
	if err := check(); err != nil {
		return nil, false, err
	}
	started := &resolveResult{began: c.clock.Now(), done: make(chan struct{})}
	c.kept.Add(key, started)
	go c.run(context.WithoutCancel(ctx), key, started, resolve)
	return started, true, nil
}

// run resolves. An error that says that no request was sent is not kept.
func (c *digestCache) run(ctx context.Context, key resolveKey, into *resolveResult, resolve func(context.Context) (string, error)) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	digest, err := resolve(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	into.digest, into.err = digest, regerr.WithoutCause(err)
	close(into.done)
	if (throttle.IsThrottled(err) || regerr.IsA[*regerr.PausedError](err)) && c.lookup(key) == into {
		c.kept.Remove(key)
	}
}

func (c *digestCache) isFresh(found *resolveResult, notBefore time.Time) bool {
	return !found.began.Before(notBefore) && c.clock.Since(found.began) <= digestLifetime
}

func (c *digestCache) lookup(key resolveKey) *resolveResult {
	kept, _ := c.kept.Get(key)
	found, _ := kept.(*resolveResult)
	return found
}

func (r *resolveResult) isDone() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}
