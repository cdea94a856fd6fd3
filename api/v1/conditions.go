package v1

import (
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Condition types of a Tag.
const (
	// ConditionReady is True while the generation wanted is in use and the last import worked.
	ConditionReady = "Ready"
	// ConditionStalled is True while only an edit can cure what is wrong (kstatus).
	ConditionStalled = "Stalled"
	// ConditionMirrored is True while the generation in use is in the internal registry. A Tag that uses none of there has no such
	// condition.
	ConditionMirrored = "Mirrored"
)

// Reason says in one word why a Tag is, or is not, Ready. The reasons of failed imports are also the values of the
// label "reason" of tagger_import_failures_total.
type Reason string

// Why an import failed.
const (
	// ReasonNotFound says: the registry has no such repository or tag.
	ReasonNotFound Reason = "NotFound"
	// ReasonUnauthorized says: the registry refuses what we may show it.
	ReasonUnauthorized Reason = "Unauthorized"
	// ReasonRateLimited says: the registry asks us to wait.
	ReasonRateLimited Reason = "RateLimited"
	// ReasonUnavailable says: the registry cannot be reached, or is broken.
	ReasonUnavailable Reason = "Unavailable"
	// ReasonRefusedByPolicy says: the administrator does not allow it.
	ReasonRefusedByPolicy Reason = "RefusedByPolicy"
	// ReasonInvalidContent says: the registry sends what is no image.
	ReasonInvalidContent Reason = "InvalidContent"
	// ReasonInvalidReference says: spec.from is no image reference.
	ReasonInvalidReference Reason = "InvalidReference"
	// ReasonMirrorUnavailable says: the internal registry cannot be reached, or is broken.
	ReasonMirrorUnavailable Reason = "MirrorUnavailable"
	// ReasonMirrorNotConfigured says: spec.cache is set, and there is no internal registry.
	ReasonMirrorNotConfigured Reason = "MirrorNotConfigured"
)

// Other reasons of the conditions.
const (
	// ReasonImported says: the generation wanted is imported and in use.
	ReasonImported Reason = "Imported"
	// ReasonMirroring says: the image is on its way into the internal registry.
	ReasonMirroring Reason = "Mirroring"
	// ReasonMirrored says: the internal registry has the image.
	ReasonMirrored Reason = "Mirrored"
	// ReasonUnknownGeneration says: spec.generation is one that was never imported, or is not kept any more.
	ReasonUnknownGeneration Reason = "UnknownGeneration"
)

// MaxReasonLength bounds what a failed import leaves in the status, in bytes.
const MaxReasonLength = 1024

// IsReady says whether the Tag is Ready for the spec that it has now.
func (t *Tag) IsReady() bool {
	ready := meta.FindStatusCondition(t.Status.Conditions, ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == t.Generation
}

// NotReadyReason is the reason of a Ready condition that is False, and empty otherwise.
func (t *Tag) NotReadyReason() Reason {
	ready := meta.FindStatusCondition(t.Status.Conditions, ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionFalse {
		return ""
	}
	return Reason(ready.Reason)
}

// IsNotReadyWith says whether the Tag says just this already, for the spec that it has now.
func (t *Tag) IsNotReadyWith(reason Reason, message string) bool {
	ready := meta.FindStatusCondition(t.Status.Conditions, ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionFalse && ready.ObservedGeneration == t.Generation &&
		ready.Reason == string(reason) && ready.Message == Truncate(message, MaxReasonLength)
}

// FailingSince is since when the Tag is not Ready for the spec that it has now; zero when it is not failing.
func (t *Tag) FailingSince() time.Time {
	ready := meta.FindStatusCondition(t.Status.Conditions, ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionFalse || ready.ObservedGeneration != t.Generation {
		return time.Time{}
	}
	return ready.LastTransitionTime.Time
}

func (t *Tag) markReady(now metav1.Time, message string) {
	t.setCondition(ConditionReady, metav1.ConditionTrue, ReasonImported, message, now)
	meta.RemoveStatusCondition(&t.Status.Conditions, ConditionStalled)
}

func (t *Tag) markNotReady(now metav1.Time, reason Reason, message string, stalled bool) {
	t.setCondition(ConditionReady, metav1.ConditionFalse, reason, message, now)
	if stalled {
		t.setCondition(ConditionStalled, metav1.ConditionTrue, reason, message, now)
		return
	}
	meta.RemoveStatusCondition(&t.Status.Conditions, ConditionStalled)
}

// setCondition restarts the transition time when the spec has changed: a new spec fails, or works, since now. A time in the
// future, from a clock that was wrong, counts as now.
func (t *Tag) setCondition(kind string, status metav1.ConditionStatus, reason Reason, message string, now metav1.Time) {
	if old := meta.FindStatusCondition(t.Status.Conditions, kind); old != nil {
		isNewSpec := old.ObservedGeneration != t.Generation && status == metav1.ConditionFalse
		if isNewSpec || old.LastTransitionTime.After(now.Time) {
			old.LastTransitionTime = now
		}
	}
	meta.SetStatusCondition(&t.Status.Conditions, metav1.Condition{
		Type:               kind,
		Status:             status,
		Reason:             string(reason),
		Message:            Truncate(message, MaxReasonLength),
		ObservedGeneration: t.Generation,
		LastTransitionTime: now,
	})
}

// Truncate cuts text to at most limit bytes, at a rune's border, and says so with an ellipsis. Control characters
// become spaces: the text may come from a registry.
func Truncate(text string, limit int) string {
	clean := strings.Map(printable, strings.ToValidUTF8(text, "?"))
	if len(clean) <= limit {
		return clean
	}
	const ellipsis = "…"
	cut := limit - len(ellipsis)
	for cut > 0 && !utf8.RuneStart(clean[cut]) {
		cut--
	}
	return clean[:cut] + ellipsis
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// Retried says whether Tagger tries again by itself after a failure of that kind; otherwise only an edit, or a change
// of the configuration, can cure it.
func (r Reason) Retried() bool {
	switch r {
	case ReasonInvalidContent, ReasonInvalidReference, ReasonRefusedByPolicy:
		return false
	default:
		return true
	}
}
