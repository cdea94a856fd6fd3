package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/test/bench/measure"
)

// longestWait bounds the waits of a benchmark. It is far above every target: a miss is measured, too.
const longestWait = 10 * time.Minute

// counting counts the objects that were seen in the expected state.
type counting struct {
	what string
	isSo func(client.Object) bool
	stop func() error

	mu   sync.Mutex
	seen map[types.NamespacedName]bool
}

// counts starts to count the objects of a kind in the expected state, now and from now on. The informer lists again if the API
// server ends a watch that is too slow, as it does while it is busy.
func (s *stand) counts(ctx context.Context, what string, kind client.Object, isSo func(client.Object) bool) (*counting, error) {
	informer, err := s.cache.GetInformer(ctx, kind)
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", what, err)
	}
	c := &counting{what: what, isSo: isSo, seen: map[types.NamespacedName]bool{}}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: c.see, UpdateFunc: func(_, object any) { c.see(object) },
	})
	c.stop = func() error { return informer.RemoveEventHandler(registration) }
	return c, err
}

func (c *counting) see(object any) {
	if found, ok := object.(client.Object); ok && c.isSo(found) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen[client.ObjectKeyFromObject(found)] = true
	}
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// until returns when that many objects have reached the state, and ends the counting.
func (c *counting) until(ctx context.Context, want int) error {
	const step = 5 * time.Second
	said := time.Now()
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, longestWait, true, func(context.Context) (bool, error) {
		count := c.count()
		if time.Since(said) > step {
			said = time.Now()
			measure.Progress("%s: %d of %d", c.what, count, want)
		}
		return count >= want, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %d of %d: %w", c.what, c.count(), want, err)
	}
	return c.stop()
}
