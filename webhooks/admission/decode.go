package admission

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
)

// enabledKey is the opt-in annotation as the API server writes it: its JSON encoder escapes no letter and no dash.
var enabledKey = []byte(`"` + v1.AnnotationEnabled + `"`)

// mayHaveOptedIn reports whether an object may have opted in. Where a cluster's webhooks cannot select objects (DESIGN: Failure
// policy), most objects have not, and decoding them would cost time.
func mayHaveOptedIn(raw []byte) bool { return bytes.Contains(raw, enabledKey) }

// partialWorkload is the part of a workload that admission reads. The decoder skips the rest of a pod's spec.
type partialWorkload struct {
	Metadata struct {
		Annotations   map[string]string               `json:"annotations"`
		ManagedFields list[metav1.ManagedFieldsEntry] `json:"managedFields"`
	} `json:"metadata"`
	Spec struct {
		Template    template `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template template `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
}

type template struct {
	Spec struct {
		InitContainers list[container] `json:"initContainers"`
		Containers     list[container] `json:"containers"`
		Volumes        list[volume]    `json:"volumes"`
	} `json:"spec"`
}

type container struct {
	Name            string            `json:"name"`
	Image           string            `json:"image"`
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy"`
}

// volume holds the name of a volume and, for an image volume (KEP-4639), its image.
type volume struct {
	Name  string                    `json:"name"`
	Image *corev1.ImageVolumeSource `json:"image"`
}

// writtenByTheAPIServer skips the check for duplicate names: the API server encoded the objects in a request.
var writtenByTheAPIServer = jsontext.AllowDuplicateNames(true)

// decode reads a workload. It is false for kinds that Tagger does not manage.
func decode(kind string, raw []byte) (pin.Workload, bool, error) {
	var object partialWorkload
	if err := json.Unmarshal(raw, &object, writtenByTheAPIServer); err != nil {
		return pin.Workload{}, false, fmt.Errorf("the %s in the request cannot be read: %w", kind, err)
	}
	if size := annotationBytes(object.Metadata.Annotations); size > maxAnnotations {
		return pin.Workload{}, false, fmt.Errorf("the annotations of the %s have %d bytes; at most %d are allowed", kind, size, maxAnnotations)
	}
	workload, ok := pin.Of(emptyObject(kind))
	if ok {
		pod := object.Spec.Template.Spec
		if kind == "CronJob" {
			pod = object.Spec.JobTemplate.Spec.Template.Spec
		}
		workload.Meta.Annotations, workload.Meta.ManagedFields = object.Metadata.Annotations, object.Metadata.ManagedFields
		workload.Pod.InitContainers, workload.Pod.Containers = containers(pod.InitContainers), containers(pod.Containers)
		workload.Pod.Volumes = volumes(pod.Volumes)
	}
	return workload, ok, nil
}

// maxAnnotations is the API server's own bound, which it checks after admission.
const maxAnnotations = 256 << 10

func annotationBytes(annotations map[string]string) int {
	size := 0
	for key, value := range annotations {
		size += len(key) + len(value)
	}
	return size
}

// emptyObject returns an object of the kind, or nil.
func emptyObject(kind string) any {
	switch kind {
	case "Deployment":
		return &appsv1.Deployment{}
	case "DaemonSet":
		return &appsv1.DaemonSet{}
	case "StatefulSet":
		return &appsv1.StatefulSet{}
	case "Job":
		return &batchv1.Job{}
	case "CronJob":
		return &batchv1.CronJob{}
	default:
		return nil
	}
}

func containers(read []container) []corev1.Container {
	made := make([]corev1.Container, len(read))
	for i, c := range read {
		made[i].Name, made[i].Image, made[i].ImagePullPolicy = c.Name, c.Image, c.ImagePullPolicy // copying a whole container takes ten times as long
	}
	return made
}

func volumes(read []volume) []corev1.Volume {
	made := make([]corev1.Volume, len(read))
	for i, v := range read {
		made[i] = corev1.Volume{Name: v.Name, VolumeSource: corev1.VolumeSource{Image: v.Image}}
	}
	return made
}
