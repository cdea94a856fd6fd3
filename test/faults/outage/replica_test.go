//go:build faults

package outage

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/images-io/tagger/test/cluster"
)

// tick is the interval between checks of a replica.
const tick = 100 * time.Millisecond

// replica is a manager that is restarted whenever it exits, as by a kubelet, but at once.
type replica struct {
	*reviewer
	exits atomic.Int32
}

// replica starts one, and returns when it is ready.
func (w *world) replica(name string, webhook *cluster.Webhook, args ...string) *replica {
	w.t.Helper()
	r := &replica{reviewer: newReviewer(webhook)}
	options := w.options(name, webhook, args...)
	manager, err := cluster.StartManager(w.t.Context(), options)
	w.do(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.supervise(ctx, manager, options) })
	w.t.Cleanup(func() {
		w.tail(manager.Log)
		cancel()
		running.Wait()
	})
	return r
}

// supervise restarts the manager whenever it exits, until the context ends.
func (r *replica) supervise(ctx context.Context, manager *cluster.Manager, options cluster.ManagerOptions) {
	for {
		if manager != nil {
			_ = wait.PollUntilContextCancel(ctx, tick, true, func(context.Context) (bool, error) { return manager.Exited() != nil, nil })
			_ = manager.Stop()
		}
		if ctx.Err() != nil {
			return
		}
		r.exits.Add(1)
		manager, _ = cluster.StartManager(ctx, options) // nil if it exited before it was ready
	}
}
