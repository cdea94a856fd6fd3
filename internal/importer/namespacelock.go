package importer

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"

	"golang.org/x/sync/semaphore"
)

// NamespaceLock lets one caller at a time do what takes memory in proportion to the objects of a namespace. Callers of the same
// namespace wait for each other first, so that another namespace waits for one of them only. The zero value is ready for use.
type NamespaceLock struct {
	made       sync.Once
	namespaces [64]*semaphore.Weighted // by hash
	all        *semaphore.Weighted
}

var hashSeed = maphash.MakeSeed()

// Lock waits for the lock. Its error is the context's.
func (l *NamespaceLock) Lock(ctx context.Context, namespace string) (unlock func(), err error) {
	l.made.Do(func() {
		for i := range l.namespaces {
			l.namespaces[i] = semaphore.NewWeighted(1)
		}
		l.all = semaphore.NewWeighted(1)
	})
	own := l.namespaces[maphash.String(hashSeed, namespace)%uint64(len(l.namespaces))]
	if err := own.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("waiting for other reads of namespace %s: %w", namespace, err)
	}
	if err := l.all.Acquire(ctx, 1); err != nil {
		own.Release(1)
		return nil, fmt.Errorf("waiting for reads of other namespaces: %w", err)
	}
	return func() { l.all.Release(1); own.Release(1) }, nil
}
