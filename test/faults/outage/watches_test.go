//go:build faults

package outage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// TestTheManagerIsCutOffForAMinute disconnects the manager alone from the API server, in the middle of imports, while users
// continue and their requests still reach its webhook. When it is connected again, the resource versions of its watches are
// compacted.
func TestTheManagerIsCutOffForAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	webhook := w.webhook("manager")
	w.install(webhook)
	proxy := w.behind(webhook)
	tags := w.tags(10)
	w.deployments(tags...)
	still, deleted, importing, moving := tags[0], tags[1], tags[2:4], tags[4:]

	answer := make(chan struct{})
	w.registry.slowDown(func(*http.Request) { <-answer })
	w.move(importing...)
	w.eventually("imports under way", func(context.Context) error {
		for _, tag := range importing {
			if w.registry.requests(tag) < 2 {
				return fmt.Errorf("not that of %s", tag)
			}
		}
		return nil
	})
	_, began := proxy.counts()
	proxy.cut()
	w.registry.slowDown(nil)
	close(answer)
	w.move(moving...)
	w.do(w.admin.Delete(t.Context(), newTag(deleted)))
	admitted, errs := throughout(t.Context(), outage, time.Second, func(ctx context.Context) error { return w.pinned(ctx, still) })
	t.Logf("%d Deployments were admitted by way of the API server while the manager was cut off", admitted)
	if len(errs) > 0 || admitted < 50 {
		t.Errorf("%d Deployments were admitted, and %d were not, such as: %v", admitted, len(errs), errs)
	}
	w.do(w.cluster.StopAPIServer(t.Context()))
	w.compact()
	w.do(w.cluster.StartAPIServer(t.Context()))
	proxy.restore()

	w.converges("the return of the connection", append(moving, importing...), 2)
	w.converges("that, for a Tag that did not move", []string{still}, 1)
	if _, anew := proxy.counts(); anew == began {
		t.Error("no watch began anew, so nothing was tested")
	}
	err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: deleted}, &v1.Tag{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the Tag that was deleted meanwhile: %v", err)
	}
	w.eventually("refusal to pin the Tag that was deleted", func(ctx context.Context) error {
		if newReviewer(webhook).pins(ctx, deleted, w.images[deleted][0]) == nil {
			return errors.New("it is pinned still")
		}
		return nil
	})
}

// pinned returns an error unless a Deployment that names the Tag is admitted, on a dry run, and gets the Tag's image.
func (w *world) pinned(ctx context.Context, tag string) error {
	created := deployment("created-meanwhile", tag)
	if err := w.admin.Create(ctx, created, client.DryRunAll); err != nil {
		return err
	}
	if got, want := created.Spec.Template.Spec.Containers[0].Image, w.images[tag][0]; got != want {
		return fmt.Errorf("admission wrote %s, want %s", got, want)
	}
	return nil
}

// lag is the delay of the events of watches.
const lag = 30 * time.Second

// TestWatchEventsAreHalfAMinuteLate changes generations twice while the manager sees all events late, including those of its
// own writes.
func TestWatchEventsAreHalfAMinuteLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	webhook := w.webhook("manager")
	w.install(webhook)
	proxy := w.behind(webhook)
	tags := w.tags(5)
	w.deployments(tags...)
	before := w.registry.requests(tags[0])

	history := w.record()
	proxy.delay(lag)
	w.move(tags...)
	w.converges("the first move with late events", tags, 2)
	w.move(tags...)
	w.converges("the second move with late events", tags, 3)
	// Late events must not undo anything when they arrive.
	_, errs := throughout(t.Context(), lag+5*time.Second, time.Second, func(ctx context.Context) error {
		return errors.Join(w.standAt(ctx, tags), w.follow(ctx, tags, 3))
	})
	if len(errs) > 0 {
		t.Errorf("it did not stay so, %d times, such as: %v", len(errs), errs[0])
	}
	history.check(w)
	asked := w.registry.requests(tags[0]) - before
	t.Logf("the registry was asked %d times for two imports of a Tag", asked)
	if asked > 2*3 {
		t.Errorf("the registry was asked %d times for two imports of a Tag", asked)
	}
}

// history is every state of Tags and Deployments, in order, by kind and name.
type history struct {
	mu     sync.Mutex
	states map[string][]string
}

// record starts to watch, without the proxy.
func (w *world) record() *history {
	w.t.Helper()
	h := &history{states: map[string][]string{}}
	for _, list := range []client.ObjectList{&v1.TagList{}, &appsv1.DeploymentList{}} {
		watcher, err := w.admin.Watch(w.t.Context(), list, client.InNamespace(namespace))
		w.do(err)
		w.t.Cleanup(watcher.Stop)
		go h.follow(watcher)
	}
	return h
}

func (h *history) follow(watcher watch.Interface) {
	for event := range watcher.ResultChan() {
		h.mu.Lock()
		switch object := event.Object.(type) {
		case *v1.Tag:
			if object.Status.Generation != nil {
				h.add("Tag "+object.Name, fmt.Sprint(*object.Status.Generation))
			}
		case *appsv1.Deployment:
			h.add("Deployment "+object.Name, object.Spec.Template.Spec.Containers[0].Image)
		}
		h.mu.Unlock()
	}
}

func (h *history) add(key, state string) {
	if states := h.states[key]; len(states) == 0 || states[len(states)-1] != state {
		h.states[key] = append(states, state)
	}
}

// check fails the test if a Tag or a Deployment had a generation twice, or an older one again.
func (h *history) check(w *world) {
	w.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.states) != 2*len(w.images) {
		w.t.Errorf("the history has %v", slices.Sorted(maps.Keys(h.states)))
	}
	for key, got := range h.states {
		kind, tag, _ := strings.Cut(key, " ")
		var want []string
		for generation, image := range w.images[tag] {
			if kind == "Tag" {
				image = fmt.Sprint(generation)
			}
			want = append(want, image)
		}
		if !slices.Equal(got, want) {
			w.t.Errorf("%s was %v, want %v", key, got, want)
		}
	}
}
