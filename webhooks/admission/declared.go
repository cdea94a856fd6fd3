package admission

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
)

// imperative are the field managers of requests that always count: somebody, or Tagger, means this very change.
var imperative = []string{
	"kubectl-edit", "kubectl-patch", "kubectl-replace", "kubectl-annotate", "kubectl-label", "kubectl-tag", v1.FieldManager,
}

// helm is the field manager of Helm 3, which patches what differs between two releases, or replaces the object by the
// manifest (--force), and keeps no last-applied configuration in it.
const helm = "helm"

// declaration is the generation that a manifest declares in this request. It is false for an edit, and for a manifest
// that leaves the generation out. A declarative apply is told from an edit (docs/adr) by what it does to managedFields,
// and else by the last-applied configuration: the options that admission sees of a patch are those of an update.
func declaration(old, updated *v1.Tag, manager string) (int64, bool) {
	generation := updated.Spec.Generation
	switch {
	case slices.Contains(imperative, manager) || generation == nil:
		return 0, false
	case isServerSideApply(old, updated, manager):
		return *generation, ownsGeneration(applyEntry(updated, manager))
	case manager == helm:
		return *generation, changesGeneration(old, updated)
	default:
		declared, ok := lastApplied(updated)
		return declared, ok && declared == *generation
	}
}

// isServerSideApply says whether the request is a server-side apply. One that changes the generation owns it afterwards.
// One that does not leaves the entries of all others alone, unlike the patches by which kubectl and Flux take fields over.
func isServerSideApply(old, updated *v1.Tag, manager string) bool {
	entry := applyEntry(updated, manager)
	if entry == nil {
		return false
	}
	if changesGeneration(old, updated) {
		return ownsGeneration(entry)
	}
	return equality.Semantic.DeepEqual(entriesBut(old, manager), entriesBut(updated, manager))
}

func changesGeneration(old, updated *v1.Tag) bool {
	return old.Spec.Generation == nil || *old.Spec.Generation != *updated.Spec.Generation
}

// entriesBut are the entries of managedFields but the one of the manager's applies.
func entriesBut(tag *v1.Tag, manager string) []metav1.ManagedFieldsEntry {
	return slices.DeleteFunc(slices.Clone(tag.ManagedFields), func(entry metav1.ManagedFieldsEntry) bool {
		return isApplyOf(entry, manager)
	})
}

func isApplyOf(entry metav1.ManagedFieldsEntry, manager string) bool {
	return entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

// applyEntry is what the manager owns by server-side apply, or nil.
func applyEntry(tag *v1.Tag, manager string) *metav1.ManagedFieldsEntry {
	i := slices.IndexFunc(tag.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool { return isApplyOf(entry, manager) })
	if i < 0 {
		return nil
	}
	return &tag.ManagedFields[i]
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
