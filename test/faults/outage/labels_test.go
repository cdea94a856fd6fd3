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
	// changes is the required number of changes of a label in a second, and tried the number on a machine that is fast enough.
	changes, tried = 200, 240
	// maxRounds is the number of attempts: other work may take a part of the machine for a while.
	maxRounds = 20
	// registryTakes is the delay of the registry, so that the import is in progress.
	registryTakes = 3 * time.Second
)

// TestLabelsChangeDuringAnImport writes to the Tag all the time, so that the manager's version is out of date at every write.
// It leaves out what would slow the API server down: the webhooks of Tags, several processors, and frequent garbage
// collections.
func TestLabelsChangeDuringAnImport(t *testing.T) {
	t.Setenv("GOMAXPROCS", "1") // for all processes of the test
	t.Setenv("GOGC", "400")
	w := newWorld(t) // not in parallel: the client has to be fast
	webhook := w.webhook("manager")
	w.install(webhook)
	proxy := w.behind(webhook)
	tags := w.tags(maxRounds)
	w.do(w.admin.DeleteAllOf(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{}))
	w.do(w.admin.DeleteAllOf(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{}))
	w.registry.slowDown(func(*http.Request) { <-time.After(registryTakes) })

	w.atFullSpeed(func(round int) float64 {
		tag := tags[round-1]
		return w.landsAmidLabels(tag, proxy, func() {
			w.do(w.admin.Patch(t.Context(), newTag(tag), mergePatch(`{"spec":{"generation":1}}`)))
		})
	})
	w.atFullSpeed(func(round int) float64 {
		created := newTag(fmt.Sprint("new-", round)) // without a status
		created.Spec.From = w.source(created.Name)
		return w.landsAmidLabels(created.Name, proxy, func() { w.do(w.admin.Create(t.Context(), created)) })
	})
}

// atFullSpeed repeats rounds until the labels change as often in one as required.
func (w *world) atFullSpeed(play func(round int) (perSecond float64)) {
	w.t.Helper()
	for round := range maxRounds {
		if play(round+1) >= changes {
			return
		}
	}
	w.t.Errorf("in none of %d rounds labels changed %d times a second", maxRounds, changes)
}

// landsAmidLabels pushes a build, starts its import, and waits for the status while labels change. It returns the number of
// changes in a second.
func (w *world) landsAmidLabels(tag string, proxy *proxy, begin func()) float64 {
	w.t.Helper()
	w.push(tag)
	status := "/apis/images.io/v1/namespaces/" + namespace + "/tags/" + tag + "/status"
	imports, writes := w.registry.requests(tag), proxy.requests(http.MethodPatch, status)
	begin()
	start, labels := time.Now(), w.relabel(tag)
	w.eventually("the status of the import", func(ctx context.Context) error { return w.standAt(ctx, []string{tag}) })
	took, perSecond := time.Since(start), labels.rate()
	labels.goOn(changes) // repeated work is done by then
	labels.stop()
	w.do(w.standAt(w.t.Context(), []string{tag}))
	imports, writes = w.registry.requests(tag)-imports, proxy.requests(http.MethodPatch, status)-writes
	w.t.Logf("with %.0f changes of labels a second the status of Tag %s landed after %.1f s, %d imports and %d writes",
		perSecond, tag, took.Seconds(), imports, writes)
	if took < registryTakes-time.Second { // its request may precede the changes
		w.t.Errorf("the status landed after %s, before the registry answered", took)
	}
	if imports != 1 || writes < 1 || writes > 3 {
		w.t.Errorf("%d imports and %d writes of the status, want one import, and at most two writes again", imports, writes)
	}
	return perSecond
}

// labels changes a label of a Tag all the time.
type labels struct {
	w       *world
	tag     string
	start   time.Time
	changed atomic.Int64
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// relabel changes labels until stop. First it clears the managed fields: they would take a quarter of the API server's time.
func (w *world) relabel(tag string) *labels {
	w.t.Helper()
	w.do(w.admin.Patch(w.t.Context(), newTag(tag), mergePatch(`{"metadata":{"managedFields":[{}]}}`)))
	ctx, cancel := context.WithCancel(w.t.Context())
	l := &labels{w: w, tag: tag, start: time.Now(), cancel: cancel}
	l.running.Go(func() { l.change(ctx) })
	return l
}

func (l *labels) change(ctx context.Context) {
	limiter := rate.NewLimiter(tried, tried/10) // changes missed in a pause are made afterwards
	for limiter.Wait(ctx) == nil {
		patch := fmt.Sprintf(`{"metadata":{"labels":{"changed":"%d"}}}`, time.Now().UnixNano())
		if err := l.w.admin.Patch(ctx, newTag(l.tag), mergePatch(patch)); err == nil {
			l.changed.Add(1)
		} else if ctx.Err() == nil {
			l.w.t.Errorf("changing a label: %v", err)
		}
	}
}

// goOn waits for so many more changes.
func (l *labels) goOn(more int64) {
	l.w.t.Helper()
	until := l.changed.Load() + more
	l.w.eventually("more changes of labels", func(context.Context) error {
		if changed := l.changed.Load(); changed < until {
			return fmt.Errorf("%d of %d", changed, until)
		}
		return nil
	})
}

// rate returns the number of changes in a second until now.
func (l *labels) rate() float64 { return float64(l.changed.Load()) / time.Since(l.start).Seconds() }

func (l *labels) stop() {
	l.cancel()
	l.running.Wait()
}
