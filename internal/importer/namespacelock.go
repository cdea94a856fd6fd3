package importer

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"

	"golang.org/x/sync/semaphore"
)

// NamespaceLock lets one caller at a time do what takes memory in proportion to the objects of a namespace. At most one caller of a
// namespace waits for those of other namespaces, so that none of them waits for a whole queue. The zero value is ready for use.
type NamespaceLock struct {
	made       sync.Once
	namespaces [64]*semaphore.Weighted // by hash
	all        *semaphore.Weighted
}

var hashSeed = maphash.MakeSeed()

// Lock waits for the lock. Its error is the context's.
func (l *NamespaceLock) Lock(ctx context.Context, namespace string) (unlock func(), err error) {
	own := l.of(namespace)
	if err := own.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("waiting for other reads of namespace %s: %w", namespace, err)
	}
	return l.lockAll(ctx, own)
}

// TryLock is Lock for a worker that others wait for: unlock is nil where another caller of the namespace holds the lock or waits.
func (l *NamespaceLock) TryLock(ctx context.Context, namespace string) (unlock func(), err error) {
	own := l.of(namespace)
	if !own.TryAcquire(1) {
		return nil, nil
	}
	return l.lockAll(ctx, own)
}

func (l *NamespaceLock) of(namespace string) *semaphore.Weighted {
	l.made.Do(func() {
		for i := range l.namespaces {
			l.namespaces[i] = semaphore.NewWeighted(1)
		}
		l.all = semaphore.NewWeighted(1)
	})
	return l.namespaces[maphash.String(hashSeed, namespace)%uint64(len(l.namespaces))]
}

func (l *NamespaceLock) lockAll(ctx context.Context, own *semaphore.Weighted) (unlock func(), err error) {
	if err := l.all.Acquire(ctx, 1); err != nil {
		own.Release(1)
		return nil, fmt.Errorf("waiting for reads of other namespaces: %w", err)
	}
	return func() { l.all.Release(1); own.Release(1) }, nil
}
