//go:build faults

package outage

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

const (
	// changes is how many labels change a second, unless the machine is too slow for it; fewer than half prove nothing.
	changes = 200
	// registryTakes is how long the registry takes to answer, so that the import is in progress.
	registryTakes = 3 * time.Second
)

// TestLabelsChangeTwoHundredTimesASecondDuringAnImport has somebody write to the Tag all the time, so that whatever the
// manager has read of it is out of date when it writes.
func TestLabelsChangeTwoHundredTimesASecondDuringAnImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	webhook := w.webhook("manager")
	w.install(webhook)
	proxy := w.behind(webhook)
	tag := w.tags(1)[0]
	w.push(tag)
	imports := w.registry.requests(tag)
	status := "/apis/images.io/v1/namespaces/" + namespace + "/tags/" + tag + "/status"
	writes := proxy.requests(http.MethodPatch, status)

	w.registry.slowDown(func(*http.Request) { <-time.After(registryTakes) })
	stop := w.relabel(tag)
	w.request(tag)
	start := time.Now()
	w.eventually("the status of the import", func(ctx context.Context) error { return w.standAt(ctx, []string{tag}) })
	took := time.Since(start)
	perSecond := stop()
	imports, writes = w.registry.requests(tag)-imports, proxy.requests(http.MethodPatch, status)-writes
	t.Logf("with %.0f changes of labels a second the status landed after %.1f s, %d imports and %d writes", perSecond, took.Seconds(), imports, writes)
	if perSecond < changes/2 {
		t.Errorf("labels changed %.0f times a second only", perSecond)
	}
	if imports > 1 || writes > 3 {
		t.Errorf("%d imports and %d writes of the status, want one import, and at most two writes again", imports, writes)
	}
}

// relabel changes a label of the Tag all the time, until stop, which returns how often a second it did.
func (w *world) relabel(tag string) (stop func() float64) {
	ctx, cancel := context.WithCancel(w.t.Context())
	limiter := rate.NewLimiter(changes, 1)
	var done atomic.Int64
	var running sync.WaitGroup
	start := time.Now()
	for range 16 {
		running.Go(func() {
			for limiter.Wait(ctx) == nil {
				patch := fmt.Sprintf(`{"metadata":{"labels":{"changed":"%d"}}}`, time.Now().UnixNano())
				if err := w.admin.Patch(ctx, newTag(tag), mergePatch(patch)); err == nil {
					done.Add(1)
				} else if ctx.Err() == nil {
					w.t.Errorf("changing a label: %v", err)
				}
			}
		})
	}
	return func() float64 {
		cancel()
		running.Wait()
		return float64(done.Load()) / time.Since(start).Seconds()
	}
}
