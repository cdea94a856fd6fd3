package v1

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxMirrored bounds status.mirrored, as the schema does.
const maxMirrored = 100

// Mirrors reports whether status.mirrored has the image: it is in the internal registry, or a copy is about to start.
func (t *Tag) Mirrors(image MirroredImage) bool {
	return slices.Contains(t.Status.Mirrored, image)
}

// RecordMirroring records an image before its copy starts. Beyond the bound it drops the oldest entry, whose image stays in the
// internal registry.
func (t *Tag) RecordMirroring(image MirroredImage) {
	t.ForgetMirrored(image.Generation)
	t.Status.Mirrored = append([]MirroredImage{image}, t.Status.Mirrored...)
	t.Status.Mirrored = t.Status.Mirrored[:min(len(t.Status.Mirrored), maxMirrored)]
}

// ForgetMirrored removes generations that have no tag in the internal registry any more, or whose images cannot be deleted
// there.
func (t *Tag) ForgetMirrored(generations ...int64) {
	t.Status.Mirrored = slices.DeleteFunc(slices.Clone(t.Status.Mirrored), func(m MirroredImage) bool {
		return slices.Contains(generations, m.Generation)
	})
	if len(t.Status.Mirrored) == 0 {
		t.Status.Mirrored = nil
	}
}

// Unreferenced returns the images in the internal registry that neither a reference nor a wanted import uses.
func (t *Tag) Unreferenced() []MirroredImage {
	var gone []MirroredImage
	for _, image := range t.Status.Mirrored {
		ref := t.Reference(image.Generation)
		isWanted := ref == nil && image.Generation == t.WantedGeneration() && t.Spec.Cache
		isKept := ref != nil && ref.ImageReference == image.ImageReference
		if !isWanted && !isKept {
			gone = append(gone, image)
		}
	}
	return gone
}

// CurrentMirrored returns the generation in use if workloads pull it from the internal registry; else nil.
func (t *Tag) CurrentMirrored() *Reference {
	current := t.Current()
	if current == nil || !t.Mirrors(MirroredImage{current.Generation, current.ImageReference}) {
		return nil
	}
	return current
}

// MarkMirroring records that the copy of the wanted generation is in progress. It does not count as an attempt yet.
func (t *Tag) MarkMirroring(message string, now metav1.Time) {
	t.MarkNotReady(ReasonMirroring, message, false, now)
}

// attachmentsMissing precedes the missing referrers in the message of the condition Mirrored.
const attachmentsMissing = "; attachments may be missing: "

// MayLackAttachments reports whether referrers of the generation in use may be missing in the internal registry.
func (t *Tag) MayLackAttachments() bool {
	condition := meta.FindStatusCondition(t.Status.Conditions, ConditionMirrored)
	return condition != nil && strings.Contains(condition.Message, attachmentsMissing)
}

// MarkMirrored records that the internal registry has the generation in use, which of its referrers may be missing there, and
// why.
func (t *Tag) MarkMirrored(missing string, now metav1.Time) {
	message := "the internal registry has the generation in use"
	if missing != "" {
		message += attachmentsMissing + missing
	}
	t.setCondition(ConditionMirrored, metav1.ConditionTrue, ReasonMirrored, message, now)
}

// MarkNotMirrored records why the internal registry does not have the generation in use, as far as Tagger can tell. Nothing
// else changes.
func (t *Tag) MarkNotMirrored(reason Reason, message string, now metav1.Time) {
	t.setCondition(ConditionMirrored, metav1.ConditionFalse, reason, message, now)
}

// IsMirroredKnown reports whether the condition Mirrored is True.
func (t *Tag) IsMirroredKnown() bool {
	return meta.IsStatusConditionTrue(t.Status.Conditions, ConditionMirrored)
}
