package importer

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"

	"golang.org/x/sync/semaphore"
)

// NamespaceLock bounds the callers that do at once what takes memory in proportion to the objects of a namespace. Those of one
// namespace that wait for other namespaces are bounded too, so that no caller waits for a whole queue. The zero value admits one
// caller.
type NamespaceLock struct {
	// PerNamespace and Total are how many callers hold the lock at once, of one namespace and in all; 0 means 1. They must not
	// change after the first use.
	PerNamespace, Total int64

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

// TryLock locks like Lock, but does not wait: unlock is nil where PerNamespace callers of the namespace hold the lock or wait.
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
			l.namespaces[i] = semaphore.NewWeighted(max(l.PerNamespace, 1))
		}
		l.all = semaphore.NewWeighted(max(l.Total, 1))
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
