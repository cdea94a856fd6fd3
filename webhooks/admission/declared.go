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

// helm is the field manager of Helm 3, which keeps no last-applied configuration in the object.
const helm = "helm"

// author is who sends a request, and how.
type author struct {
	// manager is the field manager, empty where the client names none.
	manager string
	// replaces says that the request is a whole object (PUT), and not a patch of any kind.
	replaces bool
}

// manifest is what a manifest declares in a request.
type manifest struct {
	generation int64
	// isNews: the tool sends what differs from the manifest before, so it cannot just be repeating itself.
	isNews bool
}

// declaration is what a manifest declares in this request. It is nil for an edit, and for a manifest that leaves the
// generation out. A declarative apply is told from an edit (docs/adr) by the entry that server-side apply leaves in
// managedFields, and else by the last-applied configuration.
func declaration(old, updated *v1.Tag, from author) *manifest {
	generation := updated.Spec.Generation
	switch {
	case slices.Contains(imperative, from.manager) || generation == nil:
		return nil
	case isServerSideApply(old, updated, from):
		if !ownsGeneration(applyEntry(updated, from.manager)) {
			return nil
		}
		return &manifest{generation: *generation}
	case from.manager == helm:
		return helms(old, *generation, from.replaces)
	}
	if declared, ok := lastApplied(updated); ok && declared == *generation {
		return &manifest{generation: declared}
	}
	return nil
}

// helms is what Helm 3 declares: by a patch what differs between two releases, by --force the whole manifest.
func helms(old *v1.Tag, generation int64, replaces bool) *manifest {
	if !replaces && old.Spec.Generation != nil && *old.Spec.Generation == generation {
		return nil
	}
	return &manifest{generation: generation, isNews: !replaces}
}

// isServerSideApply says whether the request is a server-side apply: a patch, whose manager has an entry for applies, and
// not one for updates that this request made.
func isServerSideApply(old, updated *v1.Tag, from author) bool {
	if from.replaces || applyEntry(updated, from.manager) == nil {
		return false
	}
	before, after := entryOf(old, from.manager, metav1.ManagedFieldsOperationUpdate), entryOf(updated, from.manager, metav1.ManagedFieldsOperationUpdate)
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
