// Package controllertest has the API server, the objects and the clients that the tests of several controllers use.
package controllertest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/images-io/tagger/api/v1"
)

// Name is that of NewTag.
var Name = types.NamespacedName{Namespace: "dev", Name: "myapp"}

// NewTag returns a Tag without a status.
func NewTag() *v1.Tag {
	return &v1.Tag{
		ObjectMeta: metav1.ObjectMeta{Namespace: Name.Namespace, Name: Name.Name, Generation: 1},
		Spec:       v1.TagSpec{From: "quay.io/company/myapp:latest", Generation: new(int64)},
	}
}

// OldImage and NewImage are images by digest.
const (
	OldImage = "quay.io/company/myapp@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	NewImage = "quay.io/company/myapp@sha256:1111111111111111111111111111111111111111111111111111111111111111"
)

// PinnedAt returns a Deployment that has the image of the Tag.
func PinnedAt(image string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: Name.Namespace, Name: "app", Annotations: map[string]string{
			v1.AnnotationEnabled: "true", v1.AnnotationPinned: `{"app":{"tag":"myapp","image":"` + image + `"}}`,
		}},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Image: image, Env: []corev1.EnvVar{{Name: "A", Value: "b"}},
		}}}}},
	}
}

// BoundedLists fails a test unless each list is bounded, or of one name: tenants decide how many objects there are, and how large.
func BoundedLists(t *testing.T, live client.WithWatch) client.WithWatch {
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

// SomeTime is a time that a status can hold.
var SomeTime = metav1.NewTime(time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC))
