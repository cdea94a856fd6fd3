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
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

const (
	// changes is how many labels change a second, unless the machine is too slow for it; fewer than a quarter prove nothing.
	changes = 200
	// registryTakes is how long the registry takes to answer, so that the import is in progress.
	registryTakes = 3 * time.Second
)

// TestLabelsChangeTwoHundredTimesASecondDuringAnImport has somebody write to the Tag all the time, so that whatever the
// manager has read of it is out of date when it writes. The webhooks of Tags are taken away: with them, the API server
// could not write one object as often.
func TestLabelsChangeTwoHundredTimesASecondDuringAnImport(t *testing.T) {
	w := newWorld(t) // beside no other test: the client has to be fast
	webhook := w.webhook("manager")
	w.install(webhook)
	proxy := w.behind(webhook)
	tag := w.tags(1)[0]
	w.do(w.admin.DeleteAllOf(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{}))
	w.do(w.admin.DeleteAllOf(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{}))
	w.registry.slowDown(func(*http.Request) { <-time.After(registryTakes) })

	w.landsAmidLabels(tag, proxy, func() {
		w.do(w.admin.Patch(t.Context(), newTag(tag), mergePatch(`{"spec":{"generation":1}}`)))
	})
	created := newTag("new") // which has no status yet
	created.Spec.From = w.source("new")
	w.landsAmidLabels("new", proxy, func() { w.do(w.admin.Create(t.Context(), created)) })
}

// landsAmidLabels pushes a build, has its import begin, and waits for the status while labels change.
func (w *world) landsAmidLabels(tag string, proxy *proxy, begin func()) {
	w.t.Helper()
	w.push(tag)
	status := "/apis/images.io/v1/namespaces/" + namespace + "/tags/" + tag + "/status"
	imports, writes := w.registry.requests(tag), proxy.requests(http.MethodPatch, status)
	begin()
	start, stop := time.Now(), w.relabel(tag)
	w.eventually("the status of the import", func(ctx context.Context) error { return w.standAt(ctx, []string{tag}) })
	took := time.Since(start)
	perSecond := stop()
	imports, writes = w.registry.requests(tag)-imports, proxy.requests(http.MethodPatch, status)-writes
	w.t.Logf("with %.0f changes of labels a second the status of Tag %s landed after %.1f s, %d imports and %d writes",
		perSecond, tag, took.Seconds(), imports, writes)
	if perSecond < changes/4 {
		w.t.Errorf("labels changed %.0f times a second only", perSecond)
	}
	if imports > 1 || writes > 3 {
		w.t.Errorf("%d imports and %d writes of the status, want one import, and at most two writes again", imports, writes)
	}
}

// relabel changes a label of the Tag all the time, until stop, which returns how often a second it did.
func (w *world) relabel(tag string) (stop func() float64) {
	ctx, cancel := context.WithCancel(w.t.Context())
	limiter := rate.NewLimiter(changes, changes/10) // what a pause left out is made up for
	var done atomic.Int64
	var running sync.WaitGroup
	start := time.Now()
	for range 8 {
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
