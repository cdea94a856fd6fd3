//go:build faults

package crash

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// history has all versions of a namespace's Tags and Deployments, in the order of the API server. It reports a forbidden
// version at once.
type history struct {
	t  *testing.T
	mu sync.Mutex
	// images has the image of each generation of each Tag.
	images map[string]map[int64]string
	// current has the generations that each Tag selected, in order, and workloads the images of each Deployment.
	current, workloads map[string][]string
	last               map[string]*v1.Tag
	events             int
	stop               func()
}

// watchHistory watches from now on until stop is called, or the test ends.
func (p *plane) watchHistory(namespace string) *history {
	p.t.Helper()
	h := &history{
		t: p.t, images: map[string]map[int64]string{}, current: map[string][]string{}, workloads: map[string][]string{}, last: map[string]*v1.Tag{},
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	var done sync.WaitGroup
	for _, list := range []client.ObjectList{&v1.TagList{}, &appsv1.DeploymentList{}} {
		from := listed{p.client, namespace, list}
		if err := p.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			p.t.Fatal(err)
		}
		_ = meta.EachListItem(list, func(object runtime.Object) error { h.saw(object); return nil })
		watcher, err := watchtools.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), from)
		if err != nil {
			p.t.Fatal(err)
		}
		done.Go(func() { h.follow(ctx, watcher) })
	}
	h.stop = func() {
		cancel()
		done.Wait()
	}
	p.t.Cleanup(h.stop)
	return h
}

// listed watches the objects of a list. The API server ends watches that are too slow, and the watch continues where it ended.
type listed struct {
	client    client.WithWatch
	namespace string
	list      client.ObjectList
}

// WatchWithContext implements cache.WatcherWithContext.
func (l listed) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return l.client.Watch(ctx, l.list, &client.ListOptions{Namespace: l.namespace, Raw: &options})
}

func (h *history) follow(ctx context.Context, watcher watch.Interface) {
	for event := range watcher.ResultChan() {
		h.saw(event.Object)
	}
	if ctx.Err() == nil {
		h.t.Error("the watch ended before the test")
	}
}

func (h *history) saw(object runtime.Object) {
	switch object := object.(type) {
	case *v1.Tag:
		h.tag(object)
	case *appsv1.Deployment:
		h.deployment(object)
	default:
		h.t.Errorf("the watch says %v", object)
	}
}

// deployment records a Deployment's image. The name of a Tag, or an image that cannot be pulled, must never be stored.
func (h *history) deployment(d *appsv1.Deployment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events++
	image := d.Spec.Template.Spec.Containers[0].Image
	if _, isDigest := digestOf(image); !isDigest {
		h.t.Errorf("Deployment %s is stored with the image %s", d.Name, image)
	}
	h.workloads[d.Name] = appendNew(h.workloads[d.Name], image)
}

// tag records a Tag, and compares it with the version before.
func (h *history) tag(tag *v1.Tag) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events++
	for _, problem := range append(h.references(tag), backwards(h.last[tag.Name], tag)...) {
		h.t.Errorf("Tag %s at resourceVersion %s: %s", tag.Name, tag.ResourceVersion, problem)
	}
	if current := tag.Current(); current != nil {
		h.current[tag.Name] = appendNew(h.current[tag.Name], current.ImageReference)
	}
	h.last[tag.Name] = tag
}

// references returns the problems of a Tag's generations, and of each compared with earlier versions.
func (h *history) references(tag *v1.Tag) (problems []string) {
	if h.images[tag.Name] == nil {
		h.images[tag.Name] = map[int64]string{}
	}
	for i, ref := range tag.Status.References {
		if i > 0 && ref.Generation >= tag.Status.References[i-1].Generation {
			problems = append(problems, fmt.Sprintf("generation %d comes after %d", ref.Generation, tag.Status.References[i-1].Generation))
		}
		if was, known := h.images[tag.Name][ref.Generation]; known && was != ref.ImageReference {
			problems = append(problems, fmt.Sprintf("generation %d is %s and was %s", ref.Generation, ref.ImageReference, was))
		}
		h.images[tag.Name][ref.Generation] = ref.ImageReference
	}
	if tag.Status.Generation != nil && tag.Current() == nil {
		problems = append(problems, fmt.Sprintf("generation %d is in use and unknown", *tag.Status.Generation))
	}
	return problems
}

// backwards returns the changes of a Tag that reverted an earlier one.
func backwards(before, after *v1.Tag) (problems []string) {
	if before == nil {
		return nil
	}
	for _, ref := range before.Status.References {
		if after.Reference(ref.Generation) == nil && !isTrimmed(after, ref.Generation) {
			problems = append(problems, fmt.Sprintf("generation %d is lost", ref.Generation))
		}
	}
	was, is := before.Newest(), after.Newest()
	if was != nil && is != nil && is.Generation != was.Generation && is.Generation != was.Generation+1 {
		problems = append(problems, fmt.Sprintf("the newest generation is %d and was %d", is.Generation, was.Generation))
	}
	if after.Status.ObservedGeneration < before.Status.ObservedGeneration {
		problems = append(problems, fmt.Sprintf("observedGeneration is %d and was %d", after.Status.ObservedGeneration, before.Status.ObservedGeneration))
	}
	if number(after.Status.LastHandledRequest) < number(before.Status.LastHandledRequest) {
		problems = append(problems, fmt.Sprintf("lastHandledRequest is %s and was %s", after.Status.LastHandledRequest, before.Status.LastHandledRequest))
	}
	if attempted(after).Before(attempted(before)) {
		problems = append(problems, fmt.Sprintf("lastImportAttempt is of %s and was of %s", attempted(after), attempted(before)))
	}
	return problems
}

// isTrimmed reports whether a generation had to make room for newer ones.
func isTrimmed(tag *v1.Tag, generation int64) bool {
	newer := 0
	for _, ref := range tag.Status.References {
		if ref.Generation > generation {
			newer++
		}
	}
	return newer >= v1.DefaultHistoryLimit-1 // the one in use may take one slot
}

// followed returns the problems of Deployments whose images were not, in order, those of their Tags. They may skip a generation
// that was selected for a moment. Each has the name of its Tag.
func (h *history) followed() (problems []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, images := range h.workloads {
		tag := h.current[name]
		for _, image := range images {
			next := slices.Index(tag, image)
			if next < 0 {
				problems = append(problems, fmt.Sprintf("Deployment %s went back to %s: it was %v, and its Tag %v", name, image, images, h.current[name]))
				break
			}
			tag = tag[next:]
		}
	}
	return problems
}

// rollouts returns the number of the Deployments' changes of image.
func (h *history) rollouts() (count int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, images := range h.workloads {
		count += len(images) - 1
	}
	return count
}

func appendNew(images []string, image string) []string {
	if len(images) > 0 && images[len(images)-1] == image {
		return images
	}
	return append(images, image)
}

// number returns a number for a request of these tests; none is 0.
func number(request string) int {
	n, err := strconv.Atoi(request)
	if err != nil {
		return 0
	}
	return n
}

func attempted(tag *v1.Tag) time.Time {
	if tag.Status.LastImportAttempt == nil {
		return metav1.Time{}.Time
	}
	return tag.Status.LastImportAttempt.When.Time
}
