package certificates

import (
	"context"
	"fmt"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagesv1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

const namespace, tagName = "users", "myapp"

// pinned is the reference by digest of the Tag that all users use, imported once.
var pinned = sync.OnceValues(func() (string, error) {
	ctx := context.Background()
	image := world.registry.Address + "/company/" + tagName
	digest, err := cluster.PushImage(ctx, image+":latest", "build")
	if err != nil {
		return "", err
	}
	tag := &imagesv1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: tagName}, Spec: imagesv1.TagSpec{From: image + ":latest"}}
	for _, object := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, tag} {
		if err := world.api.Create(ctx, object); err != nil {
			return "", err
		}
	}
	return image + "@" + digest, nil
})

// imported waits until the Tag of all users is imported, and both replicas have it.
func imported(t *testing.T) string {
	t.Helper()
	want, err := pinned()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Tag to be imported", func() error { return admitted(t.Context(), "probe", want, client.DryRunAll) })
	return want
}

// admitted creates an annotated Deployment, and fails unless it is pinned.
func admitted(ctx context.Context, name, want string, options ...client.CreateOption) error {
	labels := map[string]string{"app": name}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{imagesv1.AnnotationEnabled: "true"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: tagName}}},
			},
		},
	}
	if err := world.api.Create(ctx, deployment, options...); err != nil {
		return err
	}
	if got := deployment.Spec.Template.Spec.Containers[0].Image; got != want {
		return fmt.Errorf("the image is %s, want %s", got, want)
	}
	return nil
}
