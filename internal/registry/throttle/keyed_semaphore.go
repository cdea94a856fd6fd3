package throttle

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// maxReads bounds the requests that read manifests at a time: each holds an index and two below it, and a registry may take all the time
// that there is to send them. maxReadsPerNamespace bounds those of one namespace.
const (
	maxReads             = 4
	maxReadsPerNamespace = 2
)

// KeyedSemaphore have those who read manifests wait for their turn.
type KeyedSemaphore struct {
	all *semaphore.Weighted

	mu sync.Mutex
	of map[string]*keySemaphore
}

type keySemaphore struct {
	*semaphore.Weighted
	// users are those who read or wait.
	users int
}

// NewKeyedSemaphore returns a semaphore that is free.
func NewKeyedSemaphore() *KeyedSemaphore {
	return &KeyedSemaphore{all: semaphore.NewWeighted(maxReads), of: map[string]*keySemaphore{}}
}

// readTimeout is how long a question waits for its turn to read. It has to leave time for reading.
const readTimeout = 10 * time.Second

// errReadsBusy says that others read manifests, and nothing of the host.
var errReadsBusy = errors.New("others read manifests")

// Acquire waits until the asker may read: for a share of its own first, so that meanwhile it has nothing of what is for all.
func (r *KeyedSemaphore) Acquire(ctx context.Context) (leave func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	namespace := requestOf(ctx).Namespace
	own := r.acquireKey(namespace)
	if own.Acquire(waiting, 1) != nil {
		r.releaseKey(namespace)
		return nil, cmp.Or(ctx.Err(), errReadsBusy)
	}
	leaveOwn := func() {
		own.Release(1)
		r.releaseKey(namespace)
	}
	if r.all.Acquire(waiting, 1) != nil {
		leaveOwn()
		return nil, cmp.Or(ctx.Err(), errReadsBusy)
	}
	return func() {
		r.all.Release(1)
		leaveOwn()
	}, nil
}

func (r *KeyedSemaphore) acquireKey(namespace string) *keySemaphore {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.of[namespace]
	if own == nil {
		own = &keySemaphore{Weighted: semaphore.NewWeighted(maxReadsPerNamespace)}
		r.of[namespace] = own
	}
	own.users++
	return own
}

func (r *KeyedSemaphore) releaseKey(namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.of[namespace]
	if own.users--; own.users == 0 {
		delete(r.of, namespace)
	}
}
