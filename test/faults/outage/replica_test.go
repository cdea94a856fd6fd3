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

// tick is how often a replica is looked at.
const tick = 100 * time.Millisecond

// replica is a manager that is started again whenever it ends, as a kubelet would, but at once.
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

// supervise starts the manager again whenever it has ended, until the context ends.
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
		manager, _ = cluster.StartManager(ctx, options) // nil where it ended before it was ready
	}
}
