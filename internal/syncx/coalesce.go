package syncx

import (
	"context"
	"time"

	"golang.org/x/sync/singleflight"
)

// Group runs one call per key at a time and gives its result to all who ask meanwhile.
type Group[T any] struct {
	calls singleflight.Group
	// Limit bounds a call.
	Limit time.Duration
}

// Do waits for the call, but no longer than ctx. The call itself ends by its own limit only: the caller that started it may give up,
// and the others still get the result.
func (c *Group[T]) Do(ctx context.Context, key string, call func(context.Context) (T, error)) (T, error) {
	running := c.calls.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Limit)
		defer cancel()
		return call(ctx)
	})
	select {
	case <-ctx.Done():
		var nothing T
		return nothing, ctx.Err()
	case result := <-running:
		value, _ := result.Val.(T)
		return value, result.Err
	}
}
