package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers"
)

const (
	oldImage = "quay.io/company/myapp@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	newImage = "quay.io/company/myapp@sha256:1111111111111111111111111111111111111111111111111111111111111111"
)

type noRegistries struct{}

func (noRegistries) UnqualifiedRegistry() string { return "" }

func tagAt(image string) *v1.Tag {
	tag := newTag()
	tag.RecordImport(v1.Reference{From: tag.Spec.From, ImageReference: image})
	return tag
}

func pinnedAt(image string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: "app", Annotations: map[string]string{
			v1.AnnotationEnabled: "true", v1.AnnotationPinned: `{"app":{"tag":"myapp","image":"` + image + `"}}`,
		}},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Image: image, Env: []corev1.EnvVar{{Name: "A", Value: "b"}},
		}}}}},
	}
}

// boundedLists wants each list bounded, or of one name: tenants decide how many objects there are, and how large.
func boundedLists(t *testing.T, live client.WithWatch) client.WithWatch {
	return interceptor.NewClient(live, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			var asked client.ListOptions
			if asked.ApplyOptions(options); asked.Limit == 0 && !strings.Contains(fmt.Sprint(asked.FieldSelector), metav1.ObjectNameField+"=") {
				t.Errorf("%T are listed without a limit", list)
			}
			return c.List(ctx, list, options...)
		},
	})
}

// followed reconciles the Deployment once. There is no admission in this API server, so the controller writes the image by
// itself, after it has asked in vain. cachedTag is what the cache has of the Tag.
func followed(t *testing.T, liveTag, cachedTag *v1.Tag, deployment *appsv1.Deployment) (image string, said []string) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1.AddToScheme, appsv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	typeOf := func(secret client.Object) []string { return []string{string(secret.(*corev1.Secret).Type)} }
	live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(liveTag, deployment).WithIndex(&corev1.Secret{}, "type", typeOf).
		WithIndex(&corev1.Secret{}, metav1.ObjectNameField, func(secret client.Object) []string { return []string{secret.GetName()} }).Build()
	cache := interceptor.NewClient(live, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if tag, isTag := object.(*v1.Tag); isTag {
				cachedTag.DeepCopyInto(tag)
				return nil
			}
			if err := c.Get(ctx, key, object, options...); err != nil {
				return err
			}
			cached, err := controllers.CachedWorkload(controllers.WorkloadKinds[0])(object)
			cached.(*appsv1.Deployment).DeepCopyInto(object.(*appsv1.Deployment))
			return err
		},
	})
	recorder := events.NewFakeRecorder(10)
	reconciler := &controllers.WorkloadReconciler{
		Kind: controllers.WorkloadKinds[0], Client: cache, Live: boundedLists(t, live), Events: recorder, Registries: noRegistries{}, Clock: clock.RealClock{},
	}
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(deployment)}
	if _, err := reconciler.Reconcile(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	var stored appsv1.Deployment
	if err := live.Get(t.Context(), request.NamespacedName, &stored); err != nil {
		t.Fatal(err)
	}
	if _, left := stored.Annotations[v1.AnnotationRequested]; left {
		t.Error("the request is left in the object")
	}
	if got, want := stored.Spec.Template.Spec.Containers[0].Env, deployment.Spec.Template.Spec.Containers[0].Env; !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("what the cache does not keep is written back as %v, was %v", got, want)
	}
	close(recorder.Events)
	for event := range recorder.Events {
		said = append(said, event)
	}
	return stored.Spec.Template.Spec.Containers[0].Image, said
}

func TestAWorkloadFollowsATagThatMoved(t *testing.T) {
	image, said := followed(t, tagAt(newImage), tagAt(newImage), pinnedAt(oldImage))
	if image != newImage {
		t.Errorf("the image is %s, want %s", image, newImage)
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, "WebhookNotCalled") || !strings.Contains(text, `Rollout container "app": Tag myapp is `+newImage) {
		t.Errorf("the events are %q", said)
	}
}

// TestARolloutNamesAPullSecretThatIsNotThere: the workload itself is none that is new.
func TestARolloutNamesAPullSecretThatIsNotThere(t *testing.T) {
	for _, row := range []struct {
		from  string
		warns bool
	}{{oldImage, true}, {newImage, false}} {
		deployment := pinnedAt(row.from)
		deployment.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "absent"}}
		_, said := followed(t, tagAt(newImage), tagAt(newImage), deployment)
		warning := "Warning PullSecretMissing imagePullSecrets names what is no pull secret of this namespace: absent"
		if warns := slices.Contains(said, warning); warns != row.warns {
			t.Errorf("from %s, the events are %q", row.from, said)
		}
	}
}

func TestANameThatAdmissionMissedIsRepaired(t *testing.T) {
	deployment := pinnedAt("myapp")
	delete(deployment.Annotations, v1.AnnotationPinned)
	image, said := followed(t, tagAt(newImage), tagAt(newImage), deployment)
	if image != newImage || !strings.Contains(strings.Join(said, "\n"), `Repaired container "app"`) {
		t.Errorf("the image is %s, want %s; the events are %q", image, newImage, said)
	}
}

func TestATagCacheThatIsBehindTakesNothingBack(t *testing.T) {
	image, said := followed(t, tagAt(newImage), tagAt(oldImage), pinnedAt(newImage))
	if image != newImage || len(said) != 0 {
		t.Errorf("the image is %s, want %s; the events are %q", image, newImage, said)
	}
}

func TestAWorkloadThatIsAsItShouldBeIsLeftAlone(t *testing.T) {
	image, said := followed(t, tagAt(newImage), tagAt(newImage), pinnedAt(newImage))
	if image != newImage || len(said) != 0 {
		t.Errorf("the image is %s; the events are %q", image, said)
	}
}
