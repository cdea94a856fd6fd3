package backstop

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
)

// kinds are the workloads that may name a Tag.
var kinds = map[string]func(corev1.PodTemplateSpec, *metav1.LabelSelector) client.Object{
	"Deployment": func(template corev1.PodTemplateSpec, selector *metav1.LabelSelector) client.Object {
		return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}}
	},
	"StatefulSet": func(template corev1.PodTemplateSpec, selector *metav1.LabelSelector) client.Object {
		return &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}}
	},
	"DaemonSet": func(template corev1.PodTemplateSpec, selector *metav1.LabelSelector) client.Object {
		return &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}}
	},
	"Job": func(template corev1.PodTemplateSpec, _ *metav1.LabelSelector) client.Object {
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		return &batchv1.Job{Spec: batchv1.JobSpec{Template: template}}
	},
	"CronJob": func(template corev1.PodTemplateSpec, _ *metav1.LabelSelector) client.Object {
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		return &batchv1.CronJob{Spec: batchv1.CronJobSpec{
			Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}},
		}}
	},
}

// workload returns an annotated workload of a kind, with these changes. Its container is app, and its image does not exist.
func workload(kind, name string, changes ...func(pin.Workload)) client.Object {
	labels := map[string]string{"app": name}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}},
	}
	object := kinds[kind](template, &metav1.LabelSelector{MatchLabels: labels})
	object.SetNamespace(namespace)
	object.SetName(name)
	object.SetAnnotations(map[string]string{v1.AnnotationEnabled: "true"})
	change(object, changes...)
	return object
}

func change(object client.Object, changes ...func(pin.Workload)) {
	parts, _ := pin.Of(object)
	for _, change := range changes {
		change(parts)
	}
}

// runs sets the image of the container app.
func runs(image string) func(pin.Workload) {
	return func(w pin.Workload) { w.Pod.Containers[0].Image = image }
}

// beside adds a container.
func beside(name, image string) func(pin.Workload) {
	return func(w pin.Workload) {
		w.Pod.Containers = append(w.Pod.Containers, corev1.Container{Name: name, Image: image})
	}
}

// initialised adds an init container.
func initialised(name, image string) func(pin.Workload) {
	return func(w pin.Workload) {
		w.Pod.InitContainers = append(w.Pod.InitContainers, corev1.Container{Name: name, Image: image})
	}
}

// annotated sets the opt-in annotation, empty meaning none.
func annotated(value string) func(pin.Workload) {
	return func(w pin.Workload) {
		w.Meta.Annotations = map[string]string{v1.AnnotationEnabled: value}
		if value == "" {
			w.Meta.Annotations = nil
		}
	}
}

func labelled(w pin.Workload) { w.Meta.Labels = map[string]string{"a": "b"} }

// sentence returns the error of the backstop for these bare names, each as container=image.
func sentence(names ...string) string {
	return "Tagger was not reached; try again. Containers have the names of Tags, which a node would take for images of docker.io: " + strings.Join(names, ", ")
}

// says returns an error unless a request was rejected with a text, or admitted if the text is empty.
func says(err error, text string) error {
	switch {
	case text == "":
		return err
	case err == nil:
		return fmt.Errorf("it is admitted, want %q", text)
	case !strings.HasSuffix(err.Error(), text):
		return fmt.Errorf("it is refused with another sentence than %q: %w", text, err)
	default:
		return nil
	}
}

// unless returns an error unless the condition is true.
func unless(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}
