package v1_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
)

var start = metav1.NewTime(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))

func at(d time.Duration) metav1.Time { return metav1.NewTime(start.Add(d)) }

func imported(generation int64, image string) v1.Reference {
	return v1.Reference{Generation: generation, From: "quay.io/a/b:latest", ImportedAt: start, ImageReference: image}
}

func TestAnImportMovesTheTagAndMakesItReady(t *testing.T) {
	tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	tag.RecordImport(imported(0, "quay.io/a/b@sha256:aa"))
	if !tag.IsReady() || *tag.Status.Generation != 0 || tag.Status.Digest != "sha256:aa" || !tag.Status.LastImportAttempt.Succeed || tag.Status.ObservedGeneration != 2 {
		t.Errorf("got %+v", tag.Status)
	}
}

func TestAFailureLeavesTheGenerationInUse(t *testing.T) {
	tag := &v1.Tag{}
	tag.RecordImport(imported(0, "quay.io/a/b@sha256:aa"))
	tag.RecordFailure(v1.ReasonNotFound, "no such tag", false, at(time.Minute))
	if tag.Current().ImageReference != "quay.io/a/b@sha256:aa" || tag.NotReadyReason() != v1.ReasonNotFound || tag.Status.LastImportAttempt.Reason != "no such tag" {
		t.Errorf("got %+v", tag.Status)
	}
	if meta.FindStatusCondition(tag.Status.Conditions, v1.ConditionStalled) != nil {
		t.Error("what is tried again is not stalled")
	}
	tag.MarkReady(at(2 * time.Minute))
	if !tag.IsReady() {
		t.Error("a check that works does not end the failure")
	}
}

func TestWhatOnlyAnEditCanCureIsStalled(t *testing.T) {
	tag := &v1.Tag{}
	tag.RecordFailure(v1.ReasonInvalidReference, "no", true, start)
	if !meta.IsStatusConditionTrue(tag.Status.Conditions, v1.ConditionStalled) {
		t.Errorf("got %+v", tag.Status.Conditions)
	}
	tag.RecordImport(imported(0, "quay.io/a/b@sha256:aa"))
	if meta.FindStatusCondition(tag.Status.Conditions, v1.ConditionStalled) != nil {
		t.Error("a Tag that works is still stalled")
	}
}

func TestFailingSinceStartsAnewWithTheSpec(t *testing.T) {
	tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	tag.RecordFailure(v1.ReasonNotFound, "no", false, start)
	tag.RecordFailure(v1.ReasonUnavailable, "no", false, at(time.Minute))
	if got := tag.FailingSince(); !got.Equal(start.Time) {
		t.Errorf("another reason: failing since %s, want %s", got, start)
	}
	tag.Generation = 2
	if got := tag.FailingSince(); !got.IsZero() {
		t.Errorf("a new spec is failing since %s before it was tried", got)
	}
	tag.RecordFailure(v1.ReasonUnavailable, "no", false, at(time.Hour))
	if got := tag.FailingSince(); !got.Equal(at(time.Hour).Time) {
		t.Errorf("a new spec: failing since %s, want %s", got, at(time.Hour))
	}
}

// TestATransitionInTheFutureCountsAsNow: a clock was wrong, and retries are computed from this time.
func TestATransitionInTheFutureCountsAsNow(t *testing.T) {
	tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	tag.RecordFailure(v1.ReasonUnavailable, "no", false, at(time.Hour))
	tag.RecordFailure(v1.ReasonUnavailable, "no", false, start)
	if got := tag.FailingSince(); !got.Equal(start.Time) {
		t.Errorf("failing since %s, want %s", got, start)
	}
}

func TestTruncate(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		want string
	}{
		"short text stays":                 {"short", "short"},
		"control characters become spaces": {"a\nb\x1b[31m", "a b [31m"},
		"broken UTF-8 is replaced":         {"a\xff", "a?"},
		"long text ends with an ellipsis":  {strings.Repeat("x", 40), strings.Repeat("x", 29) + "…"},
		"a rune is never cut":              {strings.Repeat("ü", 20), strings.Repeat("ü", 14) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			got := v1.Truncate(row.text, 32)
			if got != row.want || len(got) > 32 || !utf8.ValidString(got) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestWhatTheInternalRegistryHas(t *testing.T) {
	const image = "mirror.test/dev/myapp@sha256:aa"
	tag := &v1.Tag{Spec: v1.TagSpec{Cache: true, Generation: new(int64)}}
	tag.RecordMirroring(v1.MirroredImage{ImageReference: image})
	if gone := tag.Unreferenced(); len(gone) != 0 || tag.CurrentMirrored() != nil {
		t.Errorf("of what is about to be imported, %v is taken away", gone)
	}
	tag.RecordImport(imported(0, image))
	tag.RecordMirroring(v1.MirroredImage{Generation: 1, ImageReference: image})
	if gone := tag.Unreferenced(); len(gone) != 1 || gone[0].Generation != 1 || tag.CurrentMirrored() == nil {
		t.Errorf("taken away is %v, want an import that is no longer requested", gone)
	}
	tag.ForgetMirrored(1)
	tag.RecordImport(imported(1, "quay.io/a/b@sha256:aa"))
	if gone := tag.Unreferenced(); len(gone) != 0 || tag.CurrentMirrored() != nil {
		t.Errorf("taken away is %v, want nothing of the history", gone)
	}
	tag.ForgetMirrored(0)
	if tag.Status.Mirrored != nil {
		t.Errorf("%v is left", tag.Status.Mirrored)
	}
}

func TestTag_MirroredIsBounded(t *testing.T) {
	tag := &v1.Tag{}
	for g := range int64(200) {
		tag.RecordMirroring(v1.MirroredImage{Generation: g, ImageReference: "a"})
	}
	if got := tag.Status.Mirrored; len(got) != 100 || got[0].Generation != 199 {
		t.Errorf("%d are remembered, the newest is %d", len(got), got[0].Generation)
	}
}

func TestMirroringIsNoAttempt(t *testing.T) {
	tag := &v1.Tag{}
	tag.MarkMirroring("mirroring, 1 of 2 blobs, 0 of 1 MiB", start)
	if tag.NotReadyReason() != v1.ReasonMirroring || tag.Status.LastImportAttempt != nil || meta.FindStatusCondition(tag.Status.Conditions, v1.ConditionStalled) != nil {
		t.Errorf("got %+v", tag.Status)
	}
}

func TestTag_MirroredConditionEndsWithUse(t *testing.T) {
	tag := &v1.Tag{}
	tag.RecordImport(imported(0, "mirror.test/dev/myapp@sha256:aa"))
	tag.MarkNotMirrored(v1.ReasonNotFound, "gone", start)
	if tag.IsMirroredKnown() || !tag.IsReady() {
		t.Errorf("got %+v", tag.Status)
	}
	tag.MarkMirrored("", start)
	if !tag.IsMirroredKnown() {
		t.Errorf("got %+v", tag.Status)
	}
	tag.Select(0, start)
	if meta.FindStatusCondition(tag.Status.Conditions, v1.ConditionMirrored) != nil {
		t.Errorf("got %+v", tag.Status)
	}
}
