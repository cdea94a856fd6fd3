package pin

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// volumes is the list of image volumes in the pod's spec.
const volumes = "volumes"

// volumePrefix starts the key of an image volume. No container's name has a slash.
const volumePrefix = "volume/"

// ImageField is a field of a pod template that holds an image: of a container, an init container or an image volume (KEP-4639).
// Image and PullPolicy point into the template.
type ImageField struct {
	// Key identifies the field in a record: the name of the container, or volume/<name>. Keys are unique in a pod.
	Key        string
	Image      *string
	PullPolicy *corev1.PullPolicy

	list  string // initContainers, containers or volumes
	index int    // in the list
	name  string // of the element
}

// ImageFields returns the init containers, the containers and the image volumes of the template, in this order.
func (w Workload) ImageFields() []ImageField {
	if w.Pod == nil {
		return nil
	}
	fields := make([]ImageField, 0, len(w.Pod.InitContainers)+len(w.Pod.Containers))
	fields = appendContainers(fields, "initContainers", w.Pod.InitContainers)
	fields = appendContainers(fields, "containers", w.Pod.Containers)
	for i := range w.Pod.Volumes {
		if volume := &w.Pod.Volumes[i]; volume.Image != nil {
			fields = append(fields, ImageField{
				Key: volumePrefix + volume.Name, Image: &volume.Image.Reference, PullPolicy: &volume.Image.PullPolicy,
				list: volumes, index: i, name: volume.Name,
			})
		}
	}
	return fields
}

func appendContainers(fields []ImageField, list string, containers []corev1.Container) []ImageField {
	for i := range containers {
		c := &containers[i]
		fields = append(fields, ImageField{Key: c.Name, Image: &c.Image, PullPolicy: &c.ImagePullPolicy, list: list, index: i, name: c.Name})
	}
	return fields
}

// String returns the field's name for a user.
func (f ImageField) String() string {
	if f.list == volumes {
		return fmt.Sprintf("volume %q", f.name)
	}
	return fmt.Sprintf("container %q", f.name)
}

// Element returns the list of the pod's spec with the field, and the name of its element there, the merge key.
func (f ImageField) Element() (list, name string) { return f.list, f.name }

// ImagePath returns the names of the fields from the element to the image.
func (f ImageField) ImagePath() []string {
	if f.list == volumes {
		return []string{"image", "reference"}
	}
	return []string{"image"}
}

// PullPolicyPath returns the names of the fields from the element to the pull policy.
func (f ImageField) PullPolicyPath() []string {
	if f.list == volumes {
		return []string{"image", "pullPolicy"}
	}
	return []string{"imagePullPolicy"}
}

// Pointer returns the JSON pointer (RFC 6901) below the pod's spec of a path within the element.
func (f ImageField) Pointer(path []string) string {
	return "/" + f.list + "/" + strconv.Itoa(f.index) + "/" + strings.Join(path, "/")
}
