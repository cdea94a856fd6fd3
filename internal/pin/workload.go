// Package pin decides which images the containers of a workload get. It is pure: admission and the workload controller use the
// same rules, and pass the Tags that they read.
package pin

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
)

// Workload is an object with a pod template whose containers may name Tags. Its parts point into the object.
type Workload struct {
	Meta *metav1.ObjectMeta
	Pod  *corev1.PodSpec
	// PodPath is the path of the pod's spec in the object, as a JSON pointer (RFC 6901).
	PodPath string
	// PodFields is the same path as names of fields.
	PodFields []string
	// Immutable means that the template cannot change after creation, as in a Job.
	Immutable bool
}

var (
	podFields     = []string{"spec", "template", "spec"}
	cronPodFields = []string{"spec", "jobTemplate", "spec", "template", "spec"}
)

func workload(meta *metav1.ObjectMeta, pod *corev1.PodSpec, fields []string) (Workload, bool) {
	path := ""
	for _, field := range fields {
		path += "/" + field
	}
	return Workload{Meta: meta, Pod: pod, PodPath: path, PodFields: fields}, true
}

// Of returns the workload in an object. It is false for kinds that Tagger does not manage.
func Of(object any) (Workload, bool) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return workload(&o.ObjectMeta, &o.Spec.Template.Spec, podFields)
	case *appsv1.DaemonSet:
		return workload(&o.ObjectMeta, &o.Spec.Template.Spec, podFields)
	case *appsv1.StatefulSet:
		return workload(&o.ObjectMeta, &o.Spec.Template.Spec, podFields)
	case *batchv1.CronJob:
		return workload(&o.ObjectMeta, &o.Spec.JobTemplate.Spec.Template.Spec, cronPodFields)
	case *batchv1.Job:
		job, ok := workload(&o.ObjectMeta, &o.Spec.Template.Spec, podFields)
		job.Immutable = true
		return job, ok
	default:
		return Workload{}, false
	}
}

// Enabled reports whether the workload opted in.
func (w Workload) Enabled() bool {
	return w.Meta != nil && w.Meta.Annotations[v1.AnnotationEnabled] == "true"
}

// Containers returns the init containers and the containers. Their names are unique in a pod.
func (w Workload) Containers() []*corev1.Container {
	if w.Pod == nil {
		return nil
	}
	containers := make([]*corev1.Container, 0, len(w.Pod.InitContainers)+len(w.Pod.Containers))
	for i := range w.Pod.InitContainers {
		containers = append(containers, &w.Pod.InitContainers[i])
	}
	for i := range w.Pod.Containers {
		containers = append(containers, &w.Pod.Containers[i])
	}
	return containers
}

func (w Workload) keepsPullPolicy() bool {
	return w.Meta.Annotations[v1.AnnotationKeepPullPolicy] == "true"
}
