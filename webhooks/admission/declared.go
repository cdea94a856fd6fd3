package admission

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
)

// kubectlReplace is the field manager of kubectl replace. It writes a manifest, or an edited copy of the stored object.
const kubectlReplace = "kubectl-replace"

// imperative lists the field managers whose requests always count: a user, or Tagger, intends this very change.
var imperative = []string{
	"kubectl-edit", "kubectl-patch", "kubectl-annotate", "kubectl-label", "kubectl-tag", v1.FieldManager,
}

// declaration returns the generation that a manifest declares in this request. It is false for an edit, and for a manifest
// without a generation. It tells a manifest from an edit (docs/adr/0001) by the annotation that no manifest has, by what the
// request does to managedFields, and by the last-applied configuration. The options of a patch do not help: admission sees them
// as those of an update.
func declaration(old, updated *v1.Tag, manager string) (int64, bool) {
	generation := updated.Spec.Generation
	switch {
	case generation == nil || slices.Contains(imperative, manager):
		return 0, false
	case isReplacement(old, updated):
		return *generation, true
	case manager == kubectlReplace:
		return 0, false
	case isServerSideApply(old, updated, manager):
		return *generation, ownsGeneration(applyEntry(updated, manager))
	default:
		return *generation, declares(old, updated)
	}
}

// isReplacement reports whether the request replaces the object by a manifest: the object has the annotation, and the request
// lacks it.
func isReplacement(old, updated *v1.Tag) bool {
	_, had := declared(old)
	_, has := declared(updated)
	return had && !has
}

// declares reports whether a request that patches the object declares its generation. A client-side apply does, and so does a
// tool that merges the manifest, or the changes of the manifest, into the object (Helm 3). For a Tag that is applied, such a
// tool declares only the generation that was declared before: any other is an edit beside the applied manifest.
func declares(old, updated *v1.Tag) bool {
	generation := *updated.Spec.Generation
	if applied, ok := lastApplied(updated); ok && applied == generation {
		return true
	}
	if !changesGeneration(old, updated) {
		return false
	}
	before, known := declared(old)
	return known && before == generation || !isApplied(updated)
}

// isApplied reports whether the Tag has a manifest that is applied, client-side or server-side.
func isApplied(tag *v1.Tag) bool {
	_, ok := tag.Annotations[corev1.LastAppliedConfigAnnotation]
	return ok || slices.ContainsFunc(tag.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply
	})
}

// isServerSideApply reports whether the request is a server-side apply. An apply that changes the generation owns it
// afterwards. An apply that does not change it keeps the entries of all other managers, unlike the patches with which kubectl
// and Flux take over fields.
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

// entriesBut returns the entries of managedFields without the one of the manager's applies.
func entriesBut(tag *v1.Tag, manager string) []metav1.ManagedFieldsEntry {
	return slices.DeleteFunc(slices.Clone(tag.ManagedFields), func(entry metav1.ManagedFieldsEntry) bool {
		return isApplyOf(entry, manager)
	})
}

func isApplyOf(entry metav1.ManagedFieldsEntry, manager string) bool {
	return entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

// applyEntry returns the entry of the manager's server-side applies, or nil.
func applyEntry(tag *v1.Tag, manager string) *metav1.ManagedFieldsEntry {
	i := slices.IndexFunc(tag.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool { return isApplyOf(entry, manager) })
	if i < 0 {
		return nil
	}
	return &tag.ManagedFields[i]
}

// lastApplied returns the generation of the manifest that kubectl apply, and tools that work like it, keep in an annotation.
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
