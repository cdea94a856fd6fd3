//go:build faults

package outage

import (
	"context"
	"testing"
	"time"
)

// outage is how long the API server is gone.
const outage = time.Minute

// TestTheAPIServerIsGoneForAMinute kills it while generations change, and compacts etcd, so that no watch can continue. Two
// replicas run as shipped. The leader cannot renew its lease and exits, as every controller does, but must not exit again and
// again. The other serves admission from its cache all the time.
func TestTheAPIServerIsGoneForAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.webhook("first"), w.webhook("second")
	w.install(second)
	leader := w.replica("first", first, "--leader-elect=true")
	follower := w.replica("second", second, "--leader-elect=true")
	tags := w.tags(20)
	w.deployments(tags...)

	still, moving := tags[0], tags[1:]
	w.move(moving...)
	w.do(w.cluster.StopAPIServer(t.Context()))
	w.compact()
	answered, errs := throughout(t.Context(), outage, time.Second, func(ctx context.Context) error {
		return follower.pins(ctx, still, w.images[still][0])
	})
	t.Logf("%d admissions were answered while the API server was gone; the leader ended %d times, the other %d times",
		answered, leader.exits.Load(), follower.exits.Load())
	if len(errs) > 0 || answered < 50 {
		t.Errorf("%d admissions were answered, and %d were not, such as: %v", answered, len(errs), errs)
	}
	w.do(w.cluster.StartAPIServer(t.Context()))

	w.converges("the return of the API server", moving, 2)
	w.converges("that, for a Tag that did not move", []string{still}, 1)
	w.eventually("admission by both", func(ctx context.Context) error {
		for _, r := range []*replica{leader, follower} {
			if err := r.pins(ctx, moving[0], w.images[moving[0]][1]); err != nil {
				return err
			}
		}
		return nil
	})
	if leader.exits.Load() > 1 || follower.exits.Load() > 0 {
		t.Errorf("the leader ended %d times, want once; the other %d times, want never", leader.exits.Load(), follower.exits.Load())
	}
}
