package main

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// clients is the number of concurrent requests of the benchmarks.
const clients = 16

// parallel calls do for 0 to n-1, some concurrently, and stops at the first error.
func parallel(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for i := range n {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return do(ctx, i)
		})
	}
	return group.Wait()
}
