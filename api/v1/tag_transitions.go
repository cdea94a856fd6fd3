package v1

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WantedGeneration returns the generation of the spec. A spec without one keeps the generation in use.
func (t *Tag) WantedGeneration() int64 {
	switch {
	case t.Spec.Generation != nil:
		return *t.Spec.Generation
	case t.Status.Generation != nil:
		return *t.Status.Generation
	default:
		return 0
	}
}

// MarkAdmitted records the source that admission saw.
func (t *Tag) MarkAdmitted() {
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	t.Annotations[AnnotationAdmittedSource] = t.source()
}

// IsAdmitted reports whether admission has seen the current source. Without a record the newest generation's source counts.
func (t *Tag) IsAdmitted() bool {
	if admitted, ok := t.Annotations[AnnotationAdmittedSource]; ok {
		return admitted == t.source()
	}
	newest := t.Newest()
	return newest == nil || newest.From == t.Spec.From
}

func (t *Tag) source() string {
	if t.Spec.Cache {
		return t.Spec.From + " cached"
	}
	return t.Spec.From
}

// Reference returns the imported generation of that number, or nil.
func (t *Tag) Reference(generation int64) *Reference {
	i := slices.IndexFunc(t.Status.References, func(r Reference) bool { return r.Generation == generation })
	if i < 0 {
		return nil
	}
	return &t.Status.References[i]
}

// Current returns the generation that workloads use now, or nil before the first import.
func (t *Tag) Current() *Reference {
	if t.Status.Generation == nil {
		return nil
	}
	return t.Reference(*t.Status.Generation)
}

// Newest returns the imported generation with the highest number, or nil before the first import.
func (t *Tag) Newest() *Reference {
	var newest *Reference
	for i := range t.Status.References {
		if r := &t.Status.References[i]; newest == nil || r.Generation > newest.Generation {
			newest = r
		}
	}
	return newest
}

// HistoryLimit returns the number of generations that the Tag keeps.
func (t *Tag) HistoryLimit() int {
	if t.Spec.HistoryLimit == 0 {
		return DefaultHistoryLimit
	}
	return int(t.Spec.HistoryLimit)
}

// RecordImport adds an imported generation and selects it.
func (t *Tag) RecordImport(ref Reference) {
	t.RecordGeneration(ref)
	t.Select(ref.Generation, ref.ImportedAt)
}

// RecordGeneration adds an imported generation and keeps the current one: a rollback lasts.
func (t *Tag) RecordGeneration(ref Reference) {
	t.Status.References = append([]Reference{ref}, t.Status.References...)
	t.Status.LastImportAttempt = &ImportAttempt{When: ref.ImportedAt, Succeed: true}
	t.MarkReady(ref.ImportedAt)
}

// Select selects an imported generation.
func (t *Tag) Select(generation int64, now metav1.Time) {
	t.Status.Generation = &generation
	meta.RemoveStatusCondition(&t.Status.Conditions, ConditionMirrored) // which is about the generation in use
	t.MarkReady(now)
}

// MarkReady records success: the wanted generation is in use and the registry responded.
func (t *Tag) MarkReady(now metav1.Time) {
	current := t.Current()
	if current == nil {
		return
	}
	_, t.Status.Digest, _ = strings.Cut(current.ImageReference, "@")
	t.Status.ObservedGeneration = t.Generation
	t.markReady(now, current.ImageReference)
}

// RecordFailure records why an import failed. The generation in use stays. Stalled means that only an edit can fix it.
func (t *Tag) RecordFailure(reason Reason, message string, stalled bool, now metav1.Time) {
	t.Status.LastImportAttempt = &ImportAttempt{When: now, Reason: Truncate(message, MaxReasonLength)}
	t.MarkNotReady(reason, message, stalled, now)
}

// MarkNotReady records why the Tag cannot follow its spec, without an attempt to import.
func (t *Tag) MarkNotReady(reason Reason, message string, stalled bool, now metav1.Time) {
	t.Status.ObservedGeneration = t.Generation
	t.markNotReady(now, reason, message, stalled)
}

// Trim drops the oldest generations over the limit, but neither the newest one nor the one in use.
func (t *Tag) Trim() {
	limit := max(t.HistoryLimit(), 1)
	references := t.Status.References
	if len(references) <= limit {
		return
	}
	kept := slices.Clone(references[:limit])
	if current := t.Current(); current != nil && !slices.ContainsFunc(kept, func(r Reference) bool { return r.Generation == current.Generation }) {
		kept = append(kept[:max(limit-1, 1)], *current)
	}
	t.Status.References = kept
}
