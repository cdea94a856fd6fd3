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
	// ConditionReady is True while the wanted generation is in use and the last import succeeded.
	ConditionReady = "Ready"
	// ConditionStalled is True while only an edit can fix the failure (kstatus).
	ConditionStalled = "Stalled"
	// ConditionMirrored is True while the generation in use is in the internal registry. A Tag whose generation in use is not
	// mirrored does not have it.
	ConditionMirrored = "Mirrored"
)

// Reason is the reason of a condition, in one word. The reasons of failed imports are also the values of the label "reason" of
// tagger_import_failures_total.
type Reason string

// Reasons of failed imports.
const (
	// ReasonNotFound: the registry has no such repository or tag.
	ReasonNotFound Reason = "NotFound"
	// ReasonUnauthorized: the registry refuses the available credentials.
	ReasonUnauthorized Reason = "Unauthorized"
	// ReasonRateLimited: the registry asks Tagger to wait.
	ReasonRateLimited Reason = "RateLimited"
	// ReasonUnavailable: the registry cannot be reached, or is broken.
	ReasonUnavailable Reason = "Unavailable"
	// ReasonRefusedByPolicy: the administrator does not allow it.
	ReasonRefusedByPolicy Reason = "RefusedByPolicy"
	// ReasonInvalidContent: the registry sends content that is not an image.
	ReasonInvalidContent Reason = "InvalidContent"
	// ReasonInvalidReference: spec.from is not an image reference.
	ReasonInvalidReference Reason = "InvalidReference"
	// ReasonMirrorUnavailable: the internal registry cannot be reached, or is broken.
	ReasonMirrorUnavailable Reason = "MirrorUnavailable"
	// ReasonMirrorNotConfigured: spec.cache is set, and no internal registry is configured.
	ReasonMirrorNotConfigured Reason = "MirrorNotConfigured"
)

// Other reasons of the conditions.
const (
	// ReasonImported: the wanted generation is imported and in use.
	ReasonImported Reason = "Imported"
	// ReasonMirroring: a copy to the internal registry is in progress.
	ReasonMirroring Reason = "Mirroring"
	// ReasonMirrored: the internal registry has the image.
	ReasonMirrored Reason = "Mirrored"
	// ReasonUnknownGeneration: spec.generation was never imported, or is not kept any more.
	ReasonUnknownGeneration Reason = "UnknownGeneration"
)

// MaxReasonLength bounds the reason of a failed import in the status, in bytes.
const MaxReasonLength = 1024

// IsReady reports whether the Tag is Ready for its current spec.
func (t *Tag) IsReady() bool {
	ready := meta.FindStatusCondition(t.Status.Conditions, ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == t.Generation
}

// NotReadyReason returns the reason of a Ready condition that is False, and nothing otherwise.
func (t *Tag) NotReadyReason() Reason {
	ready := meta.FindStatusCondition(t.Status.Conditions, ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionFalse {
		return ""
	}
	return Reason(ready.Reason)
}

// IsNotReadyWith reports whether the Ready condition has exactly this content, for the current spec.
func (t *Tag) IsNotReadyWith(reason Reason, message string) bool {
	ready := meta.FindStatusCondition(t.Status.Conditions, ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionFalse && ready.ObservedGeneration == t.Generation &&
		ready.Reason == string(reason) && ready.Message == Truncate(message, MaxReasonLength)
}

// FailingSince returns since when the Tag is not Ready for its current spec; zero if it is not failing.
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

// setCondition restarts the transition time after a change of the spec: a new spec fails, or succeeds, since now. A time in the
// future, from a wrong clock, counts as now.
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

// Truncate cuts text to at most limit bytes, between runes, with an ellipsis. Control characters become spaces: the text may
// come from a registry.
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

// Retried reports whether Tagger retries after a failure of that kind; otherwise only an edit, or a change of the
// configuration, can fix it.
func (r Reason) Retried() bool {
	switch r {
	case ReasonInvalidContent, ReasonInvalidReference, ReasonRefusedByPolicy:
		return false
	default:
		return true
	}
}
