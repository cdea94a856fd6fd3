package admission

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/images-io/tagger/internal/pin"
)

// snapshot is what pinning may change of a workload, as it was. A patch of just that leaves fields alone that are
// newer than the types we were built with.
type snapshot struct {
	annotations map[string]string
	init        []corev1.Container
	containers  []corev1.Container
}

func snapshotOf(w pin.Workload) snapshot {
	return snapshot{
		annotations: maps.Clone(w.Meta.Annotations),
		init:        slices.Clone(w.Pod.InitContainers),
		containers:  slices.Clone(w.Pod.Containers),
	}
}

// operations is the JSON patch (RFC 6902) from the snapshot to the workload.
func (s snapshot) operations(w pin.Workload) []jsonpatch.Operation {
	patch := annotationOperations(s.annotations, w.Meta.Annotations)
	patch = append(patch, containerOperations(w.PodPath+"/initContainers", s.init, w.Pod.InitContainers)...)
	return append(patch, containerOperations(w.PodPath+"/containers", s.containers, w.Pod.Containers)...)
}

func containerOperations(path string, before, after []corev1.Container) []jsonpatch.Operation {
	var patch []jsonpatch.Operation
	for i := range after {
		if before[i].Image != after[i].Image {
			patch = append(patch, jsonpatch.NewOperation("replace", fmt.Sprintf("%s/%d/image", path, i), after[i].Image))
		}
		if before[i].ImagePullPolicy != after[i].ImagePullPolicy {
			patch = append(patch, jsonpatch.NewOperation("add", fmt.Sprintf("%s/%d/imagePullPolicy", path, i), after[i].ImagePullPolicy))
		}
	}
	return patch
}

func annotationOperations(before, after map[string]string) []jsonpatch.Operation {
	const path = "/metadata/annotations"
	if len(before) == 0 && len(after) > 0 {
		return []jsonpatch.Operation{jsonpatch.NewOperation("add", path, after)}
	}
	var patch []jsonpatch.Operation
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, kept := after[key]; !kept {
			patch = append(patch, jsonpatch.NewOperation("remove", path+"/"+escape(key), nil))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if old, had := before[key]; !had || old != after[key] {
			patch = append(patch, jsonpatch.NewOperation("add", path+"/"+escape(key), after[key]))
		}
	}
	return patch
}

// escape makes a key a segment of a JSON pointer (RFC 6901, section 3).
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
