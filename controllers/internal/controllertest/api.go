package controllertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// api is the administrator's client of the API server that Run starts, and config its configuration.
var (
	api    client.WithWatch
	config *rest.Config
)

// Run runs the tests of a package with one API server, which has the CRD and no webhooks. It returns the exit code. Logs of
// controllers are dropped.
func Run(ctx context.Context, m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	code, err := run(ctx, m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func run(ctx context.Context, m *testing.M) (code int, err error) {
	server, err := cluster.Start(ctx, cluster.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	root, err := cluster.Root()
	if err != nil {
		return 0, err
	}
	if err := cluster.InstallFrom(ctx, server, filepath.Join(root, "config", "crd"), cluster.WebhookEndpoint{}); err != nil {
		return 0, err
	}
	config = server.Config
	if api, err = client.NewWithWatch(config, client.Options{Scheme: harness.Scheme()}); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// Config returns the administrator's configuration for the API server.
func Config() *rest.Config { return config }

// API deletes the objects of earlier tests, and returns the administrator's client.
func API(t *testing.T) client.WithWatch {
	t.Helper()
	for _, list := range []client.ObjectList{
		&v1.TagList{}, &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}, &appsv1.ReplicaSetList{},
		&batchv1.CronJobList{}, &batchv1.JobList{},
	} {
		if err := deleteAll(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	return api
}

// Background makes the API server delete an object without a garbage collector, which does not run in these tests.
const Background = client.PropagationPolicy(metav1.DeletePropagationBackground)

// deleteAll deletes all objects of a kind, without their finalizers.
func deleteAll(ctx context.Context, list client.ObjectList) error {
	if err := api.List(ctx, list); err != nil {
		return err
	}
	return meta.EachListItem(list, func(item runtime.Object) error {
		object := item.(client.Object)
		if len(object.GetFinalizers()) > 0 {
			patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
			if err := api.Patch(ctx, object, patch); err != nil {
				return err
			}
		}
		return client.IgnoreNotFound(api.Delete(ctx, object, Background))
	})
}

// Create stores a copy of an object with its status, and its namespace. It sets the fields that the API server requires of a
// workload.
func Create(t *testing.T, object client.Object) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: object.GetNamespace()}}
	if err := client.IgnoreAlreadyExists(api.Create(t.Context(), namespace)); err != nil {
		t.Fatal(err)
	}
	stored, status := object.DeepCopyObject().(client.Object), object.DeepCopyObject().(client.Object)
	complete(stored)
	if err := api.Create(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	status.SetUID(stored.GetUID())
	status.SetResourceVersion(stored.GetResourceVersion())
	if err := api.Status().Update(t.Context(), status); err != nil {
		t.Fatal(err)
	}
}

// complete sets the fields that the API server requires of a workload, if it has pods.
func complete(object client.Object) {
	labels := map[string]string{"app": object.GetName()}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	var template *corev1.PodTemplateSpec
	switch o := object.(type) {
	case *appsv1.Deployment:
		o.Spec.Selector, template = selector, &o.Spec.Template
	case *appsv1.StatefulSet:
		o.Spec.Selector, template = selector, &o.Spec.Template
	case *appsv1.DaemonSet:
		o.Spec.Selector, template = selector, &o.Spec.Template
	case *appsv1.ReplicaSet:
		o.Spec.Selector, template = selector, &o.Spec.Template
	case *batchv1.CronJob:
		o.Spec.Schedule, template = "@daily", &o.Spec.JobTemplate.Spec.Template
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
	case *batchv1.Job:
		template = &o.Spec.Template
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
	default:
		return
	}
	template.Labels = labels
	completePod(&template.Spec)
}

// completePod names containers and volumes, and adds a container to a pod without one.
func completePod(pod *corev1.PodSpec) {
	if len(pod.Containers) == 0 {
		pod.Containers = []corev1.Container{{Image: "registry.test/app"}}
	}
	for kind, containers := range map[string][]corev1.Container{"init": pod.InitContainers, "container": pod.Containers} {
		for i := range containers {
			if containers[i].Name == "" {
				containers[i].Name = fmt.Sprintf("%s-%d", kind, i)
			}
		}
	}
	for i := range pod.Volumes {
		pod.Volumes[i].Name = fmt.Sprintf("volume-%d", i)
	}
}
