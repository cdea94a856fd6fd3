package admission_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/webhooks/admission"
)

const (
	oldImage = "quay.io/company/myapp@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	newImage = "quay.io/company/myapp@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	manager  = "system:serviceaccount:tagger-system:tagger-controller-manager"
)

type noRegistries struct{}

func (noRegistries) UnqualifiedRegistry() string { return "" }

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := v1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// cacheOf returns a cache with these Tags, however old.
func cacheOf(t *testing.T, tags ...client.Object) client.Reader {
	t.Helper()
	return fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(tags...).Build()
}

// liveClient returns a client of an API server, over a transport that counts requests and responds to none.
func liveClient(t *testing.T) (client.Reader, *requests) {
	t.Helper()
	sent := &requests{}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1.GroupVersion})
	mapper.Add(v1.GroupVersion.WithKind("Tag"), meta.RESTScopeNamespace)
	live, err := client.New(&rest.Config{Host: "https://api.invalid", Transport: sent}, client.Options{Scheme: scheme(t), Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return live, sent
}

type requests struct{ seen []string }

// RoundTrip implements http.RoundTripper.
func (r *requests) RoundTrip(request *http.Request) (*http.Response, error) {
	r.seen = append(r.seen, request.Method+" "+request.URL.Path)
	return nil, errors.New("no network in admission")
}

func importedTag(name, image string) *v1.Tag {
	tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "dev"}, Spec: v1.TagSpec{From: "quay.io/company/myapp:latest"}}
	tag.RecordImport(v1.Reference{From: tag.Spec.From, ImageReference: image, ImportedAt: metav1.Now()})
	return tag
}

func annotated(image, record string) *appsv1.Deployment {
	d := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}}
	d.Name, d.Namespace = "app", "dev"
	d.Annotations = map[string]string{v1.AnnotationEnabled: "true"}
	if record != "" {
		d.Annotations[v1.AnnotationPinned] = record
	}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: image}}
	return d
}

func review(t testing.TB, operation admissionv1.Operation, user string, object, old any) ctrladmission.Request {
	t.Helper()
	request := admissionv1.AdmissionRequest{
		Operation: operation, Namespace: "dev", Kind: metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
		Object: runtime.RawExtension{Raw: encode(t, object)}, UserInfo: authenticationv1.UserInfo{Username: user},
	}
	if old != nil {
		request.OldObject.Raw = encode(t, old)
	}
	return ctrladmission.Request{AdmissionRequest: request}
}

func encode(t testing.TB, object any) []byte {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// patched returns the Deployment that the API server would store.
func patched(t *testing.T, request ctrladmission.Request, response ctrladmission.Response) *appsv1.Deployment {
	t.Helper()
	if !response.Allowed {
		t.Fatalf("refused: %v", response.Result)
	}
	if err := response.Complete(request); err != nil {
		t.Fatal(err)
	}
	raw := request.Object.Raw
	if len(response.Patch) > 0 {
		patch, err := jsonpatch.DecodePatch(response.Patch)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err = patch.Apply(raw); err != nil {
			t.Fatal(err)
		}
	}
	var d appsv1.Deployment
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// TestAReplicaWithAnOldCacheChangesNoImage: the Tag's generation changed, this replica's cache does not have it yet, and a
// label changes.
func TestAReplicaWithAnOldCacheChangesNoImage(t *testing.T) {
	live, sent := liveClient(t)
	pinner := &admission.Pinner{Tags: cacheOf(t, importedTag("myapp", oldImage)), Live: live, Registries: noRegistries{}, Username: manager}
	stored := annotated(newImage, `{"app":{"tag":"myapp","image":"`+newImage+`"}}`)
	labelled := stored.DeepCopy()
	labelled.Labels = map[string]string{"team": "a"}
	request := review(t, admissionv1.Update, "alice", labelled, stored)
	response := pinner.Handle(t.Context(), request)
	if len(response.Patches) != 0 {
		t.Errorf("a label makes the patch %v", response.Patches)
	}
	again := annotated("myapp", "")
	request = review(t, admissionv1.Update, "alice", again, stored)
	if got := patched(t, request, pinner.Handle(t.Context(), request)).Spec.Template.Spec.Containers[0].Image; got != newImage {
		t.Errorf("the manifest applied once more gets %s, want what is recorded, %s", got, newImage)
	}
	if len(sent.seen) != 0 {
		t.Errorf("admission asked %v", sent.seen)
	}
}

func TestAnOldCacheDoesWhatTheManagerRequests(t *testing.T) {
	live, _ := liveClient(t)
	pinner := &admission.Pinner{Tags: cacheOf(t, importedTag("myapp", oldImage)), Live: live, Registries: noRegistries{}, Username: manager}
	stored := annotated(oldImage, `{"app":{"tag":"myapp","image":"`+oldImage+`"}}`)
	asked := stored.DeepCopy()
	asked.Annotations[v1.AnnotationRequested] = `{"app":{"tag":"myapp","image":"` + newImage + `"}}`
	for user, want := range map[string]string{manager: newImage, "alice": oldImage} {
		request := review(t, admissionv1.Update, user, asked, stored)
		if got := patched(t, request, pinner.Handle(t.Context(), request)).Spec.Template.Spec.Containers[0].Image; got != want {
			t.Errorf("from %s: %s, want %s", user, got, want)
		}
	}
}

// TestPinner_OneLiveRead tests the bound of live reads.
func TestPinner_OneLiveRead(t *testing.T) {
	for name, row := range map[string]struct {
		image string
		want  int
	}{
		"a Tag in the cache":             {"myapp", 0},
		"an image that cannot name one":  {"quay.io/company/myapp:1.0", 0},
		"a name that the cache misses":   {"unknown", 1},
		"a placeholder without a record": {"not-imported.invalid/dev/myapp", 0},
	} {
		t.Run(name, func(t *testing.T) {
			live, sent := liveClient(t)
			pinner := &admission.Pinner{Tags: cacheOf(t, importedTag("myapp", newImage)), Live: live, Registries: noRegistries{}, Username: manager}
			d := annotated(row.image, "")
			d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "init", Image: row.image}}
			response := pinner.Handle(t.Context(), review(t, admissionv1.Create, "alice", d, nil))
			if len(sent.seen) != row.want {
				t.Errorf("admission asked %v, want %d requests", sent.seen, row.want)
			}
			for _, asked := range sent.seen {
				if !strings.HasPrefix(asked, "GET ") || !strings.HasSuffix(asked, "/namespaces/dev/tags/"+row.image) {
					t.Errorf("admission asked %s", asked)
				}
			}
			if response.Allowed != (row.want == 0) {
				t.Errorf("allowed: %v; the API server does not answer", response.Allowed)
			}
		})
	}
}

// TestPinner_TagImportedJustBefore: a user waited until the Tag was Ready, and this replica's cache does not have the import
// yet. A placeholder would cause one more rollout, and the rejection of a Job.
func TestPinner_TagImportedJustBefore(t *testing.T) {
	pending := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Name: "myapp", Namespace: "dev"}, Spec: v1.TagSpec{From: "quay.io/company/myapp:latest"}}
	silent, asked := liveClient(t)
	for name, row := range map[string]struct {
		live client.Reader
		want string
	}{
		"the API server knows the import":  {cacheOf(t, importedTag("myapp", newImage)), newImage},
		"the API server knows none either": {cacheOf(t, pending), "not-imported.invalid/dev/myapp"},
		"the Tag was deleted":              {cacheOf(t), "not-imported.invalid/dev/myapp"},
		"the API server does not answer":   {silent, "not-imported.invalid/dev/myapp"},
	} {
		t.Run(name, func(t *testing.T) {
			pinner := &admission.Pinner{Tags: cacheOf(t, pending), Live: row.live, Registries: noRegistries{}, Username: manager}
			request := review(t, admissionv1.Create, "alice", annotated("myapp", ""), nil)
			if got := patched(t, request, pinner.Handle(t.Context(), request)).Spec.Template.Spec.Containers[0].Image; got != row.want {
				t.Errorf("the image is %s, want %s", got, row.want)
			}
		})
	}
	if len(asked.seen) != 1 {
		t.Errorf("admission asked %v, want one GET", asked.seen)
	}
}

// TestPinner_HangingAPIServer: the response arrives while the API server still waits for it.
func TestPinner_HangingAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pending []client.Object
		for _, name := range []string{"myapp", "second", "third"} {
			pending = append(pending, &v1.Tag{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "dev"}})
		}
		pinner := &admission.Pinner{Tags: cacheOf(t, pending...), Live: hanging{}, Registries: noRegistries{}, Username: manager}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		d := annotated("myapp", "")
		for _, name := range []string{"second", "third"} {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: name, Image: name})
		}
		request := review(t, admissionv1.Create, "alice", d, nil)
		if got := patched(t, request, pinner.Handle(ctx, request)).Spec.Template.Spec.Containers[0].Image; got != "not-imported.invalid/dev/myapp" {
			t.Errorf("the image is %s", got)
		}
		if ctx.Err() != nil {
			t.Errorf("the caller did not wait for the response: %v", ctx.Err())
		}
	})
}

// hanging is an API server that does not respond.
type hanging struct{ client.Reader }

// Get implements client.Reader.
func (hanging) Get(ctx context.Context, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestPinner_KeepsUnknownFields(t *testing.T) {
	live, _ := liveClient(t)
	pinner := &admission.Pinner{Tags: cacheOf(t, importedTag("myapp", newImage)), Live: live, Registries: noRegistries{}, Username: manager}
	raw := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"app","annotations":{"image-tag":"true"}},
		"spec":{"newField":1,"template":{"spec":{"containers":[{"name":"app","image":"myapp","newer":{"a":"b"}}]}}}}`
	request := review(t, admissionv1.Create, "alice", json.RawMessage(raw), nil)
	response := pinner.Handle(context.Background(), request)
	for _, operation := range response.Patches {
		if !strings.HasSuffix(operation.Path, "/image") && !strings.HasPrefix(operation.Path, "/metadata/annotations/images.io~1") {
			t.Errorf("the patch touches %s", operation.Path)
		}
	}
	if len(response.Patches) != 2 {
		t.Errorf("the patch is %v, want the image and its record", response.Patches)
	}
}

func TestPinner_MalformedObjects(t *testing.T) {
	pinner := &admission.Pinner{Tags: cacheOf(t), Live: cacheOf(t), Registries: noRegistries{}, Username: manager}
	object := json.RawMessage(`{"metadata":{"annotations":{"image-tag":"true"}},"spec":3}`)
	response := pinner.Handle(t.Context(), review(t, admissionv1.Create, "alice", object, nil))
	if response.Allowed || !strings.Contains(response.Result.Message, "cannot be read") {
		t.Errorf("got %v", response.Result)
	}
}

// TestPinner_OtherObjectsAreNotDecoded: under OLM the webhook gets every workload of the cluster.
func TestPinner_OtherObjectsAreNotDecoded(t *testing.T) {
	pinner := &admission.Pinner{Tags: cacheOf(t), Live: cacheOf(t), Registries: noRegistries{}, Username: manager}
	object := json.RawMessage(`{"metadata":{"annotations":{"image-tags":"true"}},"spec":3}`)
	response := pinner.Handle(t.Context(), review(t, admissionv1.Update, "alice", object, object))
	if !response.Allowed || len(response.Patches) != 0 {
		t.Errorf("got %v", response)
	}
}

// TestImageVolumesArePinned: the patch and the managed fields name the volume, which is not the first of the pod.
func TestImageVolumesArePinned(t *testing.T) {
	pinner := &admission.Pinner{Tags: cacheOf(t, importedTag("myapp", newImage)), Live: cacheOf(t), Registries: noRegistries{}, Username: manager}
	d := annotated("nginx:1", "")
	d.Spec.Template.Spec.Volumes = []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "models", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "myapp", PullPolicy: corev1.PullAlways}}},
	}
	d.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "kubectl-create", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "apps/v1", FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:template":{"f:spec":{"f:volumes":{"k:{\"name\":\"models\"}":{"f:image":{"f:pullPolicy":{},"f:reference":{}},"f:name":{}}}}}}}`),
	}}
	request := review(t, admissionv1.Create, "alice", d, nil)
	stored := patched(t, request, pinner.Handle(t.Context(), request))
	want := []corev1.Volume{d.Spec.Template.Spec.Volumes[0], {Name: "models", VolumeSource: corev1.VolumeSource{
		Image: &corev1.ImageVolumeSource{Reference: newImage, PullPolicy: corev1.PullIfNotPresent},
	}}}
	if got := stored.Spec.Template.Spec.Volumes; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if record := stored.Annotations[v1.AnnotationPinned]; !strings.Contains(record, `"volume/models":{"tag":"myapp"`) {
		t.Errorf("the record is %s", record)
	}
	if owned := stored.ManagedFields[0].FieldsV1.GetRawString(); strings.Contains(owned, "f:image") {
		t.Errorf("the user still owns the image: %s", owned)
	}
}
