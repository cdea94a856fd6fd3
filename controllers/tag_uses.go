package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
	"github.com/images-io/tagger/internal/reference"
)

// inMirror is an image without the registry: namespace, Tag, and digest or tag, whatever address and prefix it has, for a registry
// may have several names. Any other image is itself.
func inMirror(image string) string {
	name, suffix := image, ""
	if repository, digest, isDigest := reference.Split(image); isDigest {
		name, suffix = repository, "@"+digest
	}
	path := strings.Split(name, "/")
	if len(path) < 3 {
		return image
	}
	return strings.Join(path[len(path)-2:], "/") + suffix
}

// usedImages are the images that pods of the Tag's namespace run, or may be made with, as in a mirror, and by whom: what another
// Tag has in its history, too.
func (r *TagReconciler) usedImages(ctx context.Context, tag *v1.Tag) (map[string]string, error) {
	used := map[string]string{}
	lists := []client.ObjectList{&appsv1.ReplicaSetList{}, &batchv1.JobList{}, &v1.TagList{}}
	for _, kind := range WorkloadKinds {
		lists = append(lists, kind.NewList())
	}
	for _, list := range lists {
		if err := r.Live.List(ctx, list, client.InNamespace(tag.Namespace)); err != nil {
			return nil, fmt.Errorf("reading what namespace %s runs: %w", tag.Namespace, err)
		}
		_ = meta.EachListItem(list, func(item runtime.Object) error { // never fails: the function does not, and the list is one
			if other, isTag := item.(*v1.Tag); !isTag {
				use(used, item)
			} else if other.Name != tag.Name {
				useHistory(used, other)
			}
			return nil
		})
	}
	return used, nil
}

// use notes the images of an object whose pods are there, or to come.
func use(used map[string]string, object runtime.Object) {
	workload, isWorkload := pin.Of(object)
	who := ""
	switch o := object.(type) {
	case *appsv1.ReplicaSet:
		if o.Status.Replicas == 0 && o.Spec.Replicas != nil && *o.Spec.Replicas == 0 {
			return
		}
		workload, isWorkload, who = pin.Workload{Meta: &o.ObjectMeta, Pod: &o.Spec.Template.Spec}, true, "ReplicaSet"
	case *batchv1.Job:
		if o.Status.CompletionTime != nil || slices.ContainsFunc(o.Status.Conditions, hasFailed) {
			return
		}
		who = "Job"
	case *appsv1.Deployment:
		who = "Deployment"
	case *appsv1.StatefulSet:
		who = "StatefulSet"
	case *appsv1.DaemonSet:
		who = "DaemonSet"
	case *batchv1.CronJob:
		who = "CronJob"
	}
	if !isWorkload {
		return
	}
	for _, image := range imagesFor(workload) {
		used[inMirror(image)] = who + " " + workload.Meta.Name
	}
}

// imagesFor are all images that pods of a workload need: those of their containers, and those that they mount (KEP-4639).
func imagesFor(workload pin.Workload) (images []string) {
	for _, container := range workload.Containers() {
		images = append(images, container.Image)
	}
	for _, volume := range workload.Pod.Volumes {
		if volume.Image != nil {
			images = append(images, volume.Image.Reference)
		}
	}
	return images
}

// useByTag has whoever uses a generation by its tag use its digest.
func useByTag(used map[string]string, tag *v1.Tag) {
	for _, image := range tag.Status.Mirrored {
		if who, isUsed := used[fmt.Sprintf("%s/%s:%d", tag.Namespace, tag.Name, image.Generation)]; isUsed {
			used[inMirror(image.ImageReference)] = who
		}
	}
}

// useHistory notes the images of a Tag's generations.
func useHistory(used map[string]string, tag *v1.Tag) {
	for _, ref := range tag.Status.References {
		used[inMirror(ref.ImageReference)] = "Tag " + tag.Name
	}
}

func hasFailed(condition batchv1.JobCondition) bool {
	return condition.Type == batchv1.JobFailed && condition.Status == corev1.ConditionTrue
}
