package admission_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/webhooks/admission"
)

// changing is a cache whose Tags change during a review, and that counts the reads.
type changing struct {
	mu    sync.Mutex
	tags  memory
	reads map[string]int
}

func (c *changing) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reads == nil {
		c.reads = map[string]int{}
	}
	c.reads[key.Name]++
	return c.tags.Get(ctx, key, object, options...)
}

func (c *changing) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func (c *changing) set(tag *v1.Tag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tags[client.ObjectKeyFromObject(tag)] = tag
}

func (c *changing) total() (sum int) {
	for _, reads := range c.reads {
		sum += reads
	}
	return sum
}

func pendingTag(name string) *v1.Tag {
	return &v1.Tag{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "dev"}, Spec: v1.TagSpec{From: "quay.io/company/myapp:latest"}}
}

func failedTag(name string) *v1.Tag {
	tag := pendingTag(name)
	tag.Status.LastImportAttempt = &v1.ImportAttempt{Succeed: false, Reason: "no such repository"}
	return tag
}

func jobReview(t testing.TB, images ...string) ctrladmission.Request {
	job := &batchv1.Job{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}}
	job.Name, job.Namespace, job.Annotations = "app", "dev", map[string]string{v1.AnnotationEnabled: "true"}
	for i, image := range images {
		job.Spec.Template.Spec.Containers = append(job.Spec.Template.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", i), Image: image})
	}
	request := review(t, admissionv1.Create, "alice", job, nil)
	request.Kind = metav1.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
	return request
}

// TestPinner_JobWaitsForFirstImport: it waits for half of the webhook's timeout at most.
func TestPinner_JobWaitsForFirstImport(t *testing.T) {
	key := client.ObjectKey{Namespace: "dev", Name: "myapp"}
	for name, row := range map[string]struct {
		cached, live *v1.Tag
		later        *v1.Tag // in the cache after a second
		timeout      time.Duration
		dryRun       bool
		takes        time.Duration
		says         string // empty for allowed
	}{
		"the import ends in time":                     {pendingTag("myapp"), pendingTag("myapp"), importedTag("myapp", newImage), 5 * time.Second, false, time.Second, ""},
		"the same on a dry run":                       {pendingTag("myapp"), pendingTag("myapp"), importedTag("myapp", newImage), 5 * time.Second, true, time.Second, ""},
		"the cache does not have the Tag yet":         {nil, pendingTag("myapp"), importedTag("myapp", newImage), 5 * time.Second, false, time.Second, ""},
		"the import fails meanwhile":                  {pendingTag("myapp"), pendingTag("myapp"), failedTag("myapp"), 5 * time.Second, false, time.Second, "no import yet"},
		"the import goes on":                          {pendingTag("myapp"), pendingTag("myapp"), pendingTag("myapp"), 5 * time.Second, false, 2500 * time.Millisecond, "no import yet"},
		"the import goes on, with the timeout of OLM": {pendingTag("myapp"), pendingTag("myapp"), pendingTag("myapp"), 2 * time.Second, false, time.Second, "no import yet"},
		"the import failed before":                    {failedTag("myapp"), failedTag("myapp"), importedTag("myapp", newImage), 5 * time.Second, false, 0, "no import yet"},
		"there is no such Tag":                        {nil, nil, importedTag("myapp", newImage), 5 * time.Second, false, 0, "no such Tag"},
		"it is there already":                         {importedTag("myapp", newImage), nil, importedTag("myapp", newImage), 5 * time.Second, false, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache, live := &changing{tags: memory{}}, memory{}
				if row.cached != nil {
					cache.tags[key] = row.cached
				}
				if row.live != nil {
					live[key] = row.live
				}
				time.AfterFunc(990*time.Millisecond, func() { cache.set(row.later) })
				pinner := &admission.Pinner{Tags: cache, Live: live, Registries: noRegistries{}, Username: manager}
				ctx, cancel := context.WithTimeout(t.Context(), row.timeout)
				defer cancel()
				request, start := jobReview(t, "myapp", "myapp"), time.Now()
				request.DryRun = ptr.To(row.dryRun)
				response := pinner.Handle(ctx, request)
				if took := time.Since(start); took != row.takes {
					t.Errorf("it took %s, want %s", took, row.takes)
				}
				if response.Allowed != (row.says == "") || row.says != "" && !strings.Contains(response.Result.Message, row.says) {
					t.Errorf("allowed: %v, %v, want %q", response.Allowed, response.Result, row.says)
				}
			})
		})
	}
}

// TestPinner_EndsWithItsContext: the caller left, and the Job waits no longer.
func TestPinner_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := &changing{tags: memory{{Namespace: "dev", Name: "myapp"}: pendingTag("myapp")}}
		pinner := &admission.Pinner{Tags: cache, Live: memory{}, Registries: noRegistries{}, Username: manager}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if response := pinner.Handle(ctx, jobReview(t, "myapp")); response.Allowed || time.Since(start) > time.Second {
			t.Errorf("after %s: %v", time.Since(start), response)
		}
	})
}

// TestPinner_BoundedLiveReads: each name is read once, and 32 names at most, for any number of containers.
func TestPinner_BoundedLiveReads(t *testing.T) {
	for name, row := range map[string]struct{ names, containers, want int }{
		"a name that comes often": {1, 100, 1},
		"more names than that":    {1000, 2000, 32},
	} {
		t.Run(name, func(t *testing.T) {
			live := &changing{tags: memory{}}
			pinner := &admission.Pinner{Tags: memory{}, Live: live, Registries: noRegistries{}, Username: manager}
			d := annotated("", "")
			d.Spec.Template.Spec.Containers = nil
			for i := range row.containers {
				c := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: fmt.Sprintf("name-%d", i%row.names)}
				d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, c)
			}
			if response := pinner.Handle(t.Context(), review(t, admissionv1.Create, "alice", d, nil)); !response.Allowed {
				t.Fatalf("refused: %v", response.Result)
			}
			if got := live.total(); got != row.want || len(live.reads) != row.want {
				t.Errorf("%d live reads of %d names, want %d", got, len(live.reads), row.want)
			}
		})
	}
}
