package admission

import (
	"maps"
	"slices"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/images-io/tagger/internal/pin"
)

// snapshot holds the fields that pinning may change, with their values before it. A patch of only these fields keeps fields
// that are newer than the API types of this build.
type snapshot struct {
	annotations map[string]string
	images      []imageValues
}

type imageValues struct {
	image      string
	pullPolicy corev1.PullPolicy
}

func snapshotOf(w pin.Workload) snapshot {
	s := snapshot{annotations: maps.Clone(w.Meta.Annotations)}
	for _, f := range w.ImageFields() {
		s.images = append(s.images, imageValues{*f.Image, *f.PullPolicy})
	}
	return s
}

// operations returns the JSON patch (RFC 6902) from the snapshot to the workload.
func (s snapshot) operations(w pin.Workload) []jsonpatch.Operation {
	patch := annotationOperations(s.annotations, w.Meta.Annotations)
	for i, f := range w.ImageFields() {
		if before := s.images[i]; before.image != *f.Image {
			patch = append(patch, jsonpatch.NewOperation("replace", w.PodPath+f.Pointer(f.ImagePath()), *f.Image))
		}
		if before := s.images[i]; before.pullPolicy != *f.PullPolicy {
			patch = append(patch, jsonpatch.NewOperation("add", w.PodPath+f.Pointer(f.PullPolicyPath()), *f.PullPolicy))
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

// escape returns a key as a segment of a JSON pointer (RFC 6901, section 3).
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
