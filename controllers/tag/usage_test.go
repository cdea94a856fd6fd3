package tag_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/controllertest"
)

// pages observes the pages of lists.
type pages struct {
	lists, largest, running, atOnce atomic.Int32
}

func (p *pages) list(ctx context.Context, live client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
	if running := p.running.Add(1); running > p.atOnce.Load() {
		p.atOnce.Store(running)
	}
	defer p.running.Add(-1)
	p.lists.Add(1)
	err := live.List(ctx, list, options...)
	p.largest.Store(max(p.largest.Load(), int32(meta.LenList(list))))
	return err
}

func observePages(w *world) *pages {
	p := &pages{}
	w.readLive(interceptor.NewClient(w.live, interceptor.Funcs{List: p.list}))
	return p
}

// jobs are Jobs of the Tag's namespace that run, one container for each image.
func (w *world) jobs(count int, images func(job int) []string) {
	w.t.Helper()
	for i := range count {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: controllertest.Name.Namespace, Name: fmt.Sprintf("job-%03d", i)}}
		for _, image := range images(i) {
			job.Spec.Template.Spec.Containers = append(job.Spec.Template.Spec.Containers, corev1.Container{Image: image})
		}
		controllertest.Create(w.t, job)
	}
}

// TestUsageIsReadInPages: an image that only the last page names stays, too.
func TestUsageIsReadInPages(t *testing.T) {
	for _, count := range []int{1, 10, 11, 95} {
		t.Run(fmt.Sprintf("%d Jobs", count), func(t *testing.T) {
			w := newWorld(t, left())
			api := observePages(w)
			w.jobs(count, func(job int) []string {
				if job == count-1 {
					return []string{oldMirrorImage}
				}
				return []string{"registry.test/other"}
			})
			w.reconcile()
			if len(w.mirror.removed) > 0 {
				t.Errorf("removed was %v, which the last Job uses", w.mirror.removed)
			}
			if api.lists.Load() == 0 || api.largest.Load() > 10 {
				t.Errorf("the largest of %d pages has %d objects", api.lists.Load(), api.largest.Load())
			}
		})
	}
}

// emptyRegistry is an internal registry that has nothing any more.
type emptyRegistry struct{}

func (emptyRegistry) Remove(context.Context, *v1.Tag, v1.MirroredImage, []string) error { return nil }

// TestOnePruneAtATimeReadsUsage: 40 Tags that are deleted at once.
func TestOnePruneAtATimeReadsUsage(t *testing.T) {
	w := newWorld(t, left())
	api := observePages(w)
	w.reconciler.Pruner.Registry = emptyRegistry{}
	w.jobs(20, func(int) []string { return []string{"registry.test/other"} })
	var running sync.WaitGroup
	for i := range 40 {
		tag := left()
		tag.Name = fmt.Sprintf("tag-%02d", i)
		controllertest.Create(t, tag)
		if err := w.live.Delete(t.Context(), tag); err != nil { // it has the finalizer
			t.Fatal(err)
		}
		running.Go(func() {
			request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(tag)}
			for wait := time.Second; wait > 0; { // until it is gone
				result, err := w.reconciler.Reconcile(t.Context(), request)
				if wait = result.RequeueAfter; err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if lists, atOnce := api.lists.Load(), api.atOnce.Load(); lists < 40 || atOnce != 1 {
		t.Errorf("%d lists, %d at a time", lists, atOnce)
	}
}

// TestAPruneThatTakesLongParksNoWorkers: the prune of another namespace comes back later.
func TestAPruneThatTakesLongParksNoWorkers(t *testing.T) {
	w := newWorld(t, left())
	slow := left()
	slow.Namespace = "slow"
	controllertest.Create(t, slow)
	reading := make(chan struct{})
	w.readLive(interceptor.NewClient(w.live, interceptor.Funcs{
		List: func(ctx context.Context, live client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			var asked client.ListOptions
			if asked.ApplyOptions(options); asked.Namespace == slow.Namespace {
				close(reading)
				<-ctx.Done()
				return ctx.Err()
			}
			return live.List(ctx, list, options...)
		},
	}))
	pruning, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = w.reconciler.Reconcile(pruning, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(slow)}) // ends with its context
	}()
	<-reading
	if result := w.reconcile(); result.RequeueAfter <= 0 || len(w.mirror.removed) > 0 {
		t.Errorf("got %+v, removed %v", result, w.mirror.removed)
	}
	select {
	case <-ended:
		t.Error("the prune that takes long ended")
	default:
	}
	stop()
	<-ended
	w.pass(10 * time.Second)
	w.reconcile()
	if len(w.mirror.removed) != 1 {
		t.Errorf("removed were %v", w.mirror.removed)
	}
}

// TestUsageKeepsTheImagesOfTheTagOnly: a Job may name tens of thousands of images.
func TestUsageKeepsTheImagesOfTheTagOnly(t *testing.T) {
	many := func(prefix string) func(int) []string {
		return func(job int) (images []string) {
			for i := range 1000 {
				images = append(images, fmt.Sprintf("%s%064x", prefix, job*1000+i))
			}
			return images
		}
	}
	for _, row := range []struct {
		name, prefix string
		removed      int
		failure      string
	}{
		{name: "of other repositories", prefix: "mirror.test/dev/other@sha256:", removed: 1},
		{name: "of a repository that begins the same", prefix: "mirror.test/dev/myapp-2@sha256:", removed: 1},
		{name: "of the Tag's own repository", prefix: "mirror.test/dev/myapp@sha256:", failure: "more than 4096 images of Tag myapp"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, left())
			observePages(w)
			w.jobs(10, many(row.prefix))
			_, err := w.reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: controllertest.Name})
			if row.failure == "" && err != nil || row.failure != "" && (err == nil || !strings.Contains(err.Error(), row.failure)) {
				t.Errorf("got %v, want %q", err, row.failure)
			}
			if len(w.mirror.removed) != row.removed {
				t.Errorf("removed was %v, want %d", w.mirror.removed, row.removed)
			}
			if len(w.mirror.kept) > 2 {
				t.Errorf("%d digests were kept", len(w.mirror.kept))
			}
		})
	}
}
