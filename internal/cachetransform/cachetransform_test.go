package cachetransform_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/cachetransform"
	"github.com/images-io/tagger/internal/pin"
	"github.com/images-io/tagger/internal/workloadkind"
)

// secret is what must not be kept of any object.
const secret = "do-not-keep"

const someImage = "quay.io/company/myapp@sha256:0000000000000000000000000000000000000000000000000000000000000000"

var someTime = metav1.NewTime(time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC))

// full is a workload of the kind with all that people and controllers put there.
func full(t *testing.T, kind workloadkind.Kind) client.Object {
	t.Helper()
	object := kind.New()
	workload, ok := pin.Of(object)
	if !ok {
		t.Fatalf("%T is no workload", object)
	}
	*workload.Meta = metav1.ObjectMeta{
		Namespace: "dev", Name: "app", UID: "uid", ResourceVersion: "7", Generation: 3, DeletionTimestamp: &metav1.Time{Time: someTime.Time},
		Labels:        map[string]string{"app": secret},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: secret}},
		Annotations: map[string]string{
			v1.AnnotationEnabled: "true", v1.AnnotationPinned: `{"app":{"tag":"myapp","image":"` + someImage + `"}}`,
			v1.AnnotationKeepPullPolicy: "true", corev1.LastAppliedConfigAnnotation: secret,
		},
	}
	workload.Pod.ServiceAccountName = secret
	workload.Pod.InitContainers = []corev1.Container{{Name: "init", Image: "tools", Command: []string{secret}}}
	workload.Pod.Containers = []corev1.Container{
		{Name: "app", Image: someImage, ImagePullPolicy: corev1.PullAlways, Env: []corev1.EnvVar{{Name: "A", Value: secret}}},
		{Name: "proxy", Image: "proxy:1"},
	}
	return object
}

func TestWorkload_KeepsWhatPinningReads(t *testing.T) {
	tags := pin.LookupWith(func(name string) (*v1.Tag, error) { return importedTag(), nil }, "")
	for _, kind := range workloadkind.All {
		t.Run(kind.Name, func(t *testing.T) {
			object := full(t, kind)
			if daemonSet, ok := object.(*appsv1.DaemonSet); ok {
				daemonSet.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
			}
			before, _ := pin.Of(object)
			wanted, err := pin.Wanted(before, "dev", tags)
			if err != nil {
				t.Fatal(err)
			}
			cached := keep(t, cachetransform.Workload(kind), object)
			after, _ := pin.Of(cached)
			got, err := pin.Wanted(after, "dev", tags)
			if err != nil || len(got) != 2 || !maps.Equal(got, wanted) || !slices.Equal(after.TagNames(), before.TagNames()) {
				t.Errorf("pinning wants %v (%v) of what is cached, and %v of the whole", got, err, wanted)
			}
			if !sameIdentity(cached, object) {
				t.Errorf("the identity is %+v", after.Meta)
			}
		})
	}
}

func TestWorkload_NotOptedIn(t *testing.T) {
	for _, kind := range workloadkind.All {
		object := full(t, kind)
		delete(object.GetAnnotations(), v1.AnnotationEnabled)
		cached := keep(t, cachetransform.Workload(kind), object)
		workload, _ := pin.Of(cached)
		if !sameIdentity(cached, object) || len(workload.Containers()) != 0 || len(workload.Meta.Annotations) != 0 {
			t.Errorf("the cache keeps %+v", cached)
		}
	}
}

// TestTheCacheKeepsNoCredentials: what kubectl applied last is an annotation, and for a secret it holds the data.
func TestTheCacheKeepsNoCredentials(t *testing.T) {
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "dev", Name: "pull", ResourceVersion: "7", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: secret},
	}}
	cached := keep(t, cachetransform.Secret, object)
	if cached.GetNamespace() != "dev" || cached.GetName() != "pull" || cached.GetResourceVersion() != "7" {
		t.Errorf("the cache keeps %+v", cached)
	}
}

func TestTheCacheKeepsWhatAPlanReadsOfATag(t *testing.T) {
	tag := importedTag()
	tag.MarkAdmitted()
	tag.Finalizers = []string{"other.example.com/finalizer", v1.FinalizerMirror}
	whole := tag.DeepCopy()
	tag.Labels = map[string]string{"app": secret}
	metav1.SetMetaDataAnnotation(&tag.ObjectMeta, corev1.LastAppliedConfigAnnotation, secret)
	tag.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: secret}}
	cached := keep(t, cachetransform.Tag, tag)
	if got, want := encoded(t, cached), encoded(t, whole); got != want {
		t.Errorf("the cache keeps %s, want %s", got, want)
	}
}

// keep is what the cache keeps of an object, and again of that: the cache may ask twice.
func keep(t *testing.T, transform func(any) (any, error), object client.Object) client.Object {
	t.Helper()
	once, err := transform(object)
	if err != nil {
		t.Fatal(err)
	}
	text := encoded(t, once)
	twice, err := transform(once)
	if err != nil {
		t.Fatal(err)
	}
	if again := encoded(t, twice); again != text || strings.Contains(text, secret) {
		t.Errorf("the cache keeps %s, and of that %s", text, again)
	}
	return twice.(client.Object)
}

func encoded(t *testing.T, object any) string {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func sameIdentity(a, b client.Object) bool {
	return a.GetNamespace() == b.GetNamespace() && a.GetName() == b.GetName() && a.GetUID() == b.GetUID() && a.GetGeneration() == b.GetGeneration() &&
		a.GetResourceVersion() == b.GetResourceVersion() && a.GetDeletionTimestamp().Equal(b.GetDeletionTimestamp())
}

// TestTheCacheKeepsNoAnnotationsOfTenants: neither those that only look like Tagger's, nor values without a bound.
func TestTheCacheKeepsNoAnnotationsOfTenants(t *testing.T) {
	annotations := func() map[string]string {
		return map[string]string{
			v1.AnnotationEnabled: "true", v1.AnnotationPinned: strings.Repeat("a", 64<<10+1), v1.AnnotationTrigger: strings.Repeat("a", 64<<10+1),
			v1.AnnotationKeepPullPolicy: strings.Repeat("a", 64<<10), "images.io/x": strings.Repeat(secret, 20<<10),
		}
	}
	tag := importedTag()
	tag.Annotations = annotations()
	objects := map[string]client.Object{"Tag": keep(t, cachetransform.Tag, tag)}
	for _, kind := range workloadkind.All {
		object := full(t, kind)
		object.SetAnnotations(annotations())
		objects[kind.Name] = keep(t, cachetransform.Workload(kind), object)
	}
	for name, cached := range objects {
		got := slices.Sorted(maps.Keys(cached.GetAnnotations()))
		if want := []string{v1.AnnotationEnabled, v1.AnnotationKeepPullPolicy}; !slices.Equal(got, want) {
			t.Errorf("%s: the cache keeps %v, want %v", name, got, want)
		}
	}
}

// importedTag returns a Tag with one import.
func importedTag() *v1.Tag {
	tag := &v1.Tag{Spec: v1.TagSpec{From: "quay.io/company/myapp:latest", Generation: new(int64)}}
	tag.Namespace, tag.Name, tag.UID = "dev", "myapp", "uid"
	tag.RecordImport(v1.Reference{From: tag.Spec.From, ImageReference: strings.ReplaceAll(someImage, "0", "1")})
	return tag
}
