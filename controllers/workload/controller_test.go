package workload_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/controllertest"
	workloadcontroller "github.com/images-io/tagger/controllers/workload"
	"github.com/images-io/tagger/internal/cachetransform"
	"github.com/images-io/tagger/internal/workloadkind"
)

func TestMain(m *testing.M) { os.Exit(controllertest.Run(context.Background(), m)) }

type noRegistries struct{}

func (noRegistries) UnqualifiedRegistry() string { return "" }

func tagAt(image string) *v1.Tag {
	tag := controllertest.NewTag()
	tag.RecordImport(v1.Reference{From: tag.Spec.From, ImageReference: image, ImportedAt: controllertest.SomeTime})
	return tag
}

// followed reconciles the Deployment once. There is no admission in this API server, so the controller writes the image by
// itself, after it has asked in vain. cachedTag is what the cache has of the Tag.
func followed(t *testing.T, liveTag, cachedTag *v1.Tag, deployment *appsv1.Deployment) (image string, said []string) {
	t.Helper()
	live := controllertest.API(t)
	controllertest.Create(t, liveTag)
	controllertest.Create(t, deployment)
	cache := interceptor.NewClient(live, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if tag, isTag := object.(*v1.Tag); isTag {
				cachedTag.DeepCopyInto(tag)
				return nil
			}
			if err := c.Get(ctx, key, object, options...); err != nil {
				return err
			}
			cached, err := cachetransform.Workload(workloadkind.All[0])(object)
			cached.(*appsv1.Deployment).DeepCopyInto(object.(*appsv1.Deployment))
			return err
		},
	})
	recorder := events.NewFakeRecorder(10)
	reconciler := &workloadcontroller.Reconciler{
		Kind: workloadkind.All[0], Client: cache, Live: controllertest.BoundedLists(t, live), Events: recorder, Registries: noRegistries{},
		Clock: clocktesting.NewFakePassiveClock(time.Now().Add(time.Hour)), // no workload is new
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
	image, said := followed(t, tagAt(controllertest.NewImage), tagAt(controllertest.NewImage), controllertest.PinnedAt(controllertest.OldImage))
	if image != controllertest.NewImage {
		t.Errorf("the image is %s, want %s", image, controllertest.NewImage)
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, "WebhookNotCalled") || !strings.Contains(text, `Rollout container "app": Tag myapp is `+controllertest.NewImage) {
		t.Errorf("the events are %q", said)
	}
}

// TestRollout_MissingPullSecret: the workload itself is none that is new.
func TestRollout_MissingPullSecret(t *testing.T) {
	for _, row := range []struct {
		from  string
		warns bool
	}{{controllertest.OldImage, true}, {controllertest.NewImage, false}} {
		deployment := controllertest.PinnedAt(row.from)
		deployment.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "absent"}}
		_, said := followed(t, tagAt(controllertest.NewImage), tagAt(controllertest.NewImage), deployment)
		warning := "Warning PullSecretMissing imagePullSecrets not found, or not of a registry credential type, in this namespace: absent"
		if warns := slices.Contains(said, warning); warns != row.warns {
			t.Errorf("from %s, the events are %q", row.from, said)
		}
	}
}

func TestANameThatAdmissionMissedIsRepaired(t *testing.T) {
	deployment := controllertest.PinnedAt("myapp")
	delete(deployment.Annotations, v1.AnnotationPinned)
	image, said := followed(t, tagAt(controllertest.NewImage), tagAt(controllertest.NewImage), deployment)
	if image != controllertest.NewImage || !strings.Contains(strings.Join(said, "\n"), `Repaired container "app"`) {
		t.Errorf("the image is %s, want %s; the events are %q", image, controllertest.NewImage, said)
	}
}

func TestRollout_StaleTagCache(t *testing.T) {
	image, said := followed(t, tagAt(controllertest.NewImage), tagAt(controllertest.OldImage), controllertest.PinnedAt(controllertest.NewImage))
	if image != controllertest.NewImage || len(said) != 0 {
		t.Errorf("the image is %s, want %s; the events are %q", image, controllertest.NewImage, said)
	}
}

func TestRollout_NothingToDo(t *testing.T) {
	image, said := followed(t, tagAt(controllertest.NewImage), tagAt(controllertest.NewImage), controllertest.PinnedAt(controllertest.NewImage))
	if image != controllertest.NewImage || len(said) != 0 {
		t.Errorf("the image is %s; the events are %q", image, said)
	}
}
