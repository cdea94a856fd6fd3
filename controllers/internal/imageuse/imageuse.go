package imageuse

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
	"github.com/images-io/tagger/internal/reference"
)

// MirrorKey returns an image without the registry: namespace, Tag, and digest or tag, whatever address and prefix it has, for a registry
// may have several names. Any other image is itself.
func MirrorKey(image string) string {
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

// Usage collects the images of one repository that are in use, and what uses each.
type Usage struct {
	Repository string
	By         map[string]string
}

// add notes the images that are in the repository.
func (u *Usage) add(user string, images ...string) {
	for _, image := range images {
		name := MirrorKey(image)
		if suffix, isHere := strings.CutPrefix(name, u.Repository); isHere && strings.IndexAny(suffix, ":@") == 0 {
			u.By[name] = user
		}
	}
}

// MarkWorkload adds the images of an object that has pods, or will have some.
func (u *Usage) MarkWorkload(object runtime.Object) {
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
	u.add(who+" "+workload.Meta.Name, imagesFor(workload)...)
}

// imagesFor returns all images that pods of a workload need: those of their containers, and those that they mount (KEP-4639).
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

// MarkUseByTag counts the use of a generation's tag as a use of its digest.
func MarkUseByTag(used map[string]string, tag *v1.Tag) {
	for _, image := range tag.Status.Mirrored {
		if who, isUsed := used[fmt.Sprintf("%s/%s:%d", tag.Namespace, tag.Name, image.Generation)]; isUsed {
			used[MirrorKey(image.ImageReference)] = who
		}
	}
}

// MarkHistory adds the images of a Tag's generations.
func (u *Usage) MarkHistory(tag *v1.Tag) {
	for _, ref := range tag.Status.References {
		u.add("Tag "+tag.Name, ref.ImageReference)
	}
}

func hasFailed(condition batchv1.JobCondition) bool {
	return condition.Type == batchv1.JobFailed && condition.Status == corev1.ConditionTrue
}
