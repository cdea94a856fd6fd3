package admission

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
)

// imperative are the field managers of requests that always count: somebody, or Tagger, means this very change.
var imperative = []string{
	"kubectl-edit", "kubectl-patch", "kubectl-replace", "kubectl-annotate", "kubectl-label", "kubectl-tag", v1.FieldManager,
}

// helm is the field manager of Helm 3, which patches what differs between two manifests and keeps no last-applied one.
const helm = "helm"

// declaration is the generation that a manifest declares in this request. It is false for an edit, and for a manifest
// that leaves the generation out. A declarative apply is told from an edit (docs/adr) by the entry that server-side
// apply leaves in managedFields, and else by the last-applied configuration.
func declaration(old, updated *v1.Tag, manager string) (int64, bool) {
	generation := updated.Spec.Generation
	switch {
	case slices.Contains(imperative, manager) || generation == nil:
		return 0, false
	case isServerSideApply(old, updated, manager):
		return *generation, ownsGeneration(applyEntry(updated, manager))
	case manager == helm:
		return *generation, old.Spec.Generation == nil || *old.Spec.Generation != *generation
	default:
		declared, ok := lastApplied(updated)
		return declared, ok && declared == *generation
	}
}

// isServerSideApply says whether the request is a server-side apply: the manager has an entry for applies, and not one
// for updates that this request made.
func isServerSideApply(old, updated *v1.Tag, manager string) bool {
	if applyEntry(updated, manager) == nil {
		return false
	}
	before, after := entryOf(old, manager, metav1.ManagedFieldsOperationUpdate), entryOf(updated, manager, metav1.ManagedFieldsOperationUpdate)
	return after == nil || before != nil && before.Time.Equal(after.Time) && before.FieldsV1.String() == after.FieldsV1.String()
}

func applyEntry(tag *v1.Tag, manager string) *metav1.ManagedFieldsEntry {
	return entryOf(tag, manager, metav1.ManagedFieldsOperationApply)
}

func entryOf(tag *v1.Tag, manager string, operation metav1.ManagedFieldsOperationType) *metav1.ManagedFieldsEntry {
	for i := range tag.ManagedFields {
		entry := &tag.ManagedFields[i]
		if entry.Manager == manager && entry.Operation == operation && entry.Subresource == "" && entry.FieldsV1 != nil {
			return entry
		}
	}
	return nil
}

// lastApplied is the generation in the manifest that kubectl apply, and what works like it, keeps in an annotation.
func lastApplied(tag *v1.Tag) (int64, bool) {
	var manifest struct {
		Spec struct {
			Generation *int64 `json:"generation"`
		} `json:"spec"`
	}
	text := tag.Annotations[corev1.LastAppliedConfigAnnotation]
	if err := json.Unmarshal([]byte(text), &manifest); err != nil || manifest.Spec.Generation == nil {
		return 0, false
	}
	return *manifest.Spec.Generation, true
}
