package v1

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxMirrored bounds status.mirrored, as the schema does.
const maxMirrored = 100

// Mirrors says whether the Tag remembers that the image is, or is about to be, in the internal registry.
func (t *Tag) Mirrors(image MirroredImage) bool {
	return slices.Contains(t.Status.Mirrored, image)
}

// RecordMirroring remembers an image before anything of it is in the internal registry. Beyond the bound the oldest is
// forgotten, which stays there.
func (t *Tag) RecordMirroring(image MirroredImage) {
	t.ForgetMirrored(image.Generation)
	t.Status.Mirrored = append([]MirroredImage{image}, t.Status.Mirrored...)
	t.Status.Mirrored = t.Status.Mirrored[:min(len(t.Status.Mirrored), maxMirrored)]
}

// ForgetMirrored notes that generations have no tag in the internal registry any more, or that none can be taken away there.
func (t *Tag) ForgetMirrored(generations ...int64) {
	t.Status.Mirrored = slices.DeleteFunc(slices.Clone(t.Status.Mirrored), func(m MirroredImage) bool {
		return slices.Contains(generations, m.Generation)
	})
	if len(t.Status.Mirrored) == 0 {
		t.Status.Mirrored = nil
	}
}

// Unreferenced are the images in the internal registry that no reference is about any more, and no import that is wanted.
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

// CurrentMirrored is the generation in use, where workloads pull it from the internal registry; else nil.
func (t *Tag) CurrentMirrored() *Reference {
	current := t.Current()
	if current == nil || !t.Mirrors(MirroredImage{current.Generation, current.ImageReference}) {
		return nil
	}
	return current
}

// MarkMirroring says that the generation wanted is on its way into the internal registry. It is no attempt yet.
func (t *Tag) MarkMirroring(message string, now metav1.Time) {
	t.MarkNotReady(ReasonMirroring, message, false, now)
}

// attachmentsMissing is in the message of the condition Mirrored before what may be missing.
const attachmentsMissing = "; attachments may be missing: "

// MayLackAttachments reports whether the status says that attachments of the generation in use may be missing in the internal registry.
func (t *Tag) MayLackAttachments() bool {
	condition := meta.FindStatusCondition(t.Status.Conditions, ConditionMirrored)
	return condition != nil && strings.Contains(condition.Message, attachmentsMissing)
}

// MarkMirrored says that the internal registry has the generation in use, and which of its attachments may be missing there, and why.
func (t *Tag) MarkMirrored(missing string, now metav1.Time) {
	message := "the internal registry has the generation in use"
	if missing != "" {
		message += attachmentsMissing + missing
	}
	t.setCondition(ConditionMirrored, metav1.ConditionTrue, ReasonMirrored, message, now)
}

// MarkNotMirrored says why the internal registry does not have the generation in use, as far as Tagger can tell. Nothing
// else changes.
func (t *Tag) MarkNotMirrored(reason Reason, message string, now metav1.Time) {
	t.setCondition(ConditionMirrored, metav1.ConditionFalse, reason, message, now)
}

// IsMirroredKnown says whether the status tells that the internal registry has the generation in use.
func (t *Tag) IsMirroredKnown() bool {
	return meta.IsStatusConditionTrue(t.Status.Conditions, ConditionMirrored)
}

// IsLost says whether the internal registry does not have the generation in use, and it could not be copied there again.
func (t *Tag) IsLost() bool {
	condition := meta.FindStatusCondition(t.Status.Conditions, ConditionMirrored)
	return condition != nil && condition.Status == metav1.ConditionFalse && condition.Reason != string(ReasonMirroring)
}
