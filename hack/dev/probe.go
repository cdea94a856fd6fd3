package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagesv1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

const (
	probeName    = "dev-up-probe"
	probeTimeout = time.Minute
)

// probe verifies Tagger from end to end: it imports a Tag of an image in the registry, and creates, as a dry run, a Deployment
// that names the Tag and gets the pinned image. It leaves nothing in the cluster.
func probe(ctx context.Context, s *stack) (err error) {
	api, err := probeClient(s.cluster.Config)
	if err != nil {
		return err
	}
	image := s.registry.Address + "/" + probeName + ":latest"
	digest, err := cluster.PushImage(ctx, image, probeName)
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: probeName}}
	if err := api.Create(ctx, namespace); err != nil {
		return fmt.Errorf("create the namespace %s: %w", probeName, err)
	}
	defer func() { err = errors.Join(err, deleteNamespace(ctx, api, namespace)) }()
	if err := importTag(ctx, api, image); err != nil {
		return err
	}
	return pinned(ctx, api, s.registry.Address+"/"+probeName+"@"+digest)
}

func probeClient(config *rest.Config) (client.Client, error) {
	quiet := rest.CopyConfig(config)
	quiet.WarningHandler = rest.NoWarnings{}
	known := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(known), imagesv1.AddToScheme(known)); err != nil {
		return nil, fmt.Errorf("create a client: %w", err)
	}
	api, err := client.New(quiet, client.Options{Scheme: known})
	if err != nil {
		return nil, fmt.Errorf("create a client: %w", err)
	}
	return api, nil
}

// importTag creates a Tag and waits for its import.
func importTag(ctx context.Context, api client.Client, from string) error {
	tag := &imagesv1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: probeName, Name: probeName}}
	tag.Spec.From = from
	if err := api.Create(ctx, tag); err != nil {
		return fmt.Errorf("create a Tag: %w", err)
	}
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, probeTimeout, true, func(ctx context.Context) (bool, error) {
		err := api.Get(ctx, client.ObjectKeyFromObject(tag), tag)
		return len(tag.Status.References) > 0, err
	})
	if err != nil {
		return fmt.Errorf("import %s: %w (%+v)", from, err, tag.Status.LastImportAttempt)
	}
	return nil
}

// pinned creates an annotated Deployment, as a dry run, until it gets the wanted image.
func pinned(ctx context.Context, api client.Client, want string) error {
	var got string
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, probeTimeout, true, func(ctx context.Context) (bool, error) {
		deployment := probeDeployment()
		err := api.Create(ctx, deployment, client.DryRunAll)
		got = deployment.Spec.Template.Spec.Containers[0].Image
		return got == want, err
	})
	if err != nil {
		return fmt.Errorf("the image of an annotated Deployment is %s, not %s: %w", got, want, err)
	}
	return nil
}

func probeDeployment() *appsv1.Deployment {
	labels := map[string]string{"app": probeName}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: probeName, Name: probeName,
			Annotations: map[string]string{"image-tag": "true"},
		},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: probeName}}},
			},
		},
	}
}

// deleteNamespace deletes the namespace with its objects, and waits until it is gone.
func deleteNamespace(ctx context.Context, api client.Client, namespace *corev1.Namespace) error {
	if err := api.Delete(ctx, namespace); err != nil {
		return fmt.Errorf("delete the namespace %s: %w", namespace.Name, err)
	}
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, probeTimeout, true, func(ctx context.Context) (bool, error) {
		err := api.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	if err != nil {
		return fmt.Errorf("wait for the namespace %s to be gone: %w", namespace.Name, err)
	}
	return nil
}
