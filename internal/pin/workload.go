// Package pin decides which images the containers of a workload get. It is pure: admission and the workload
// controller use the same rules, and hand in what they know of the Tags.
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
	// PodPath is where the pod's spec is in the object, as a JSON pointer (RFC 6901).
	PodPath string
	// PodFields is the same as the names of the fields on the way.
	PodFields []string
	// Recovers says whether pods that cannot be pulled are replaced once the template changes. An ordered StatefulSet and
	// a DaemonSet that waits for deletions keep their stuck pods, and the templates of Jobs do not change.
	Recovers bool
}

var (
	podFields     = []string{"spec", "template", "spec"}
	cronPodFields = []string{"spec", "jobTemplate", "spec", "template", "spec"}
)

func workload(meta *metav1.ObjectMeta, pod *corev1.PodSpec, fields []string, recovers bool) (Workload, bool) {
	path := ""
	for _, field := range fields {
		path += "/" + field
	}
	return Workload{Meta: meta, Pod: pod, PodPath: path, PodFields: fields, Recovers: recovers}, true
}

// Of is the workload in an object. It is false for kinds that Tagger leaves alone.
func Of(object any) (Workload, bool) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return workload(&o.ObjectMeta, &o.Spec.Template.Spec, podFields, true)
	case *appsv1.DaemonSet:
		return workload(&o.ObjectMeta, &o.Spec.Template.Spec, podFields, o.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType)
	case *appsv1.StatefulSet:
		return workload(&o.ObjectMeta, &o.Spec.Template.Spec, podFields, false)
	case *batchv1.Job:
		return workload(&o.ObjectMeta, &o.Spec.Template.Spec, podFields, false)
	case *batchv1.CronJob:
		return workload(&o.ObjectMeta, &o.Spec.JobTemplate.Spec.Template.Spec, cronPodFields, false)
	default:
		return Workload{}, false
	}
}

// Enabled says whether the workload opted in.
func (w Workload) Enabled() bool {
	return w.Meta != nil && w.Meta.Annotations[v1.AnnotationEnabled] == "true"
}

// Containers are the init containers and the containers. Their names are unique in a pod.
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

// container is the container of that name, or nil.
func (w Workload) container(name string) *corev1.Container {
	for _, c := range w.Containers() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func (w Workload) keepsPullPolicy() bool {
	return w.Meta.Annotations[v1.AnnotationKeepPullPolicy] == "true"
}

// PinnedContainer is a container whose image admission wrote.
type PinnedContainer struct {
	// List is the field that the container is in: initContainers or containers.
	List      string
	Container string
	// PullPolicy says that its imagePullPolicy was written, too.
	PullPolicy bool
}

// Pinned are the containers of the workload's record.
func (w Workload) Pinned() []PinnedContainer {
	var pinned []PinnedContainer
	record := w.record()
	for i, c := range w.Containers() {
		entry, recorded := record[c.Name]
		if !recorded {
			continue
		}
		list := "containers"
		if i < len(w.Pod.InitContainers) {
			list = "initContainers"
		}
		pinned = append(pinned, PinnedContainer{List: list, Container: c.Name, PullPolicy: entry.PullPolicy != ""})
	}
	return pinned
}

// TagNames are the Tags that the workload uses, or would use: those of its record and the images that may name one.
func (w Workload) TagNames() []string {
	var names []string
	record := w.record()
	for _, c := range w.Containers() {
		if entry, ok := record[c.Name]; ok {
			names = append(names, entry.Tag)
		}
		if mayNameTag(c.Image) {
			names = append(names, c.Image)
		}
	}
	return names
}
