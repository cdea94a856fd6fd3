package generation_test

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/generation"
)

const mirrorImage = "mirror.test/dev/myapp@sha256:aa"

// mirrored imports generations from the internal registry, and remembers that they are there.
func mirrored(generations ...int64) edit {
	return func(t *v1.Tag) {
		t.Spec.Cache = true
		for _, g := range generations {
			t.RecordMirroring(v1.MirroredImage{Generation: g, ImageReference: mirrorImage})
			t.RecordImport(v1.Reference{Generation: g, From: t.Spec.From, ImportedAt: metav1.NewTime(now.Add(-time.Hour)), ImageReference: mirrorImage})
		}
		t.MarkAdmitted()
	}
}

// left drops a generation from the history, which stays in the internal registry.
func left(g int64) edit {
	return func(t *v1.Tag) {
		t.Status.References = slices.DeleteFunc(t.Status.References, func(r v1.Reference) bool { return r.Generation == g })
	}
}

func TestPlan_Maintenance(t *testing.T) {
	past, soon := now.Add(-time.Second), now.Add(time.Minute)
	for name, row := range map[string]struct {
		tag             *v1.Tag
		verify, collect time.Time
		want            generation.Action
		after           time.Duration
	}{
		"a generation in use is verified when it is time":         {tag(mirrored(0), wants(0)), past, soon, generation.Verify, 0},
		"and until then it waits":                                 {tag(mirrored(0), wants(0)), soon, past, generation.Keep, time.Minute},
		"a generation that is not in use is not verified":         {tag(mirrored(0), imported(1), wants(1), uncached()), past, soon, generation.Keep, 0},
		"one that was rolled back to is":                          {tag(mirrored(0), imported(1), uses(0), wants(0), uncached()), past, soon, generation.Verify, 0},
		"a Tag without anything there waits for a change":         {tag(imported(0), wants(0)), past, past, generation.Keep, 0},
		"a generation that left the history is taken away":        {tag(mirrored(0, 1), left(0), wants(1)), soon, past, generation.Prune, 0},
		"and until then it waits for what comes first":            {tag(mirrored(0, 1), left(0), wants(1)), now.Add(time.Hour), soon, generation.Keep, time.Minute},
		"one that is kept stays":                                  {tag(mirrored(0, 1), wants(1)), soon, past, generation.Keep, time.Minute},
		"one that is being imported stays":                        {tag(mirrored(0), intends(1), wants(1), failed(v1.ReasonMirrorUnavailable, 0)), soon, past, generation.Keep, time.Second},
		"one that was never imported and is not wanted any more":  {tag(mirrored(0), intends(1), wants(0)), soon, past, generation.Prune, 0},
		"one that was imported without the registry in the end":   {tag(mirrored(0), intends(1), imported(1), wants(1), uncached()), soon, past, generation.Prune, 0},
		"a step that is due comes before":                         {tag(mirrored(0, 1), left(0), wants(2)), past, past, generation.Import, 0},
		"a generation that is rejected does not hold up the rest": {tag(mirrored(3, 4), wants(1), editedSince()), past, past, generation.Verify, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := generation.Plan(generation.Input{Tag: row.tag, Now: now, Checked: now, VerifyAt: row.verify, PruneAt: row.collect})
			if got.Action != row.want || got.After != row.after || got.Why == "" {
				t.Errorf("got %+v, want %s after %s", got, row.want, row.after)
			}
		})
	}
}

func uncached() edit {
	return func(t *v1.Tag) {
		t.Spec.Cache = false
		t.MarkAdmitted()
	}
}

func intends(g int64) edit {
	return func(t *v1.Tag) {
		t.RecordMirroring(v1.MirroredImage{Generation: g, ImageReference: mirrorImage})
	}
}

func TestTriesToTakeSomethingAwayGetRarer(t *testing.T) {
	for tries, want := range map[int]time.Duration{0: 2 * time.Second, 1: 4 * time.Second, 3: 16 * time.Second, 9: 10 * time.Minute, 1000: 10 * time.Minute} {
		if got := generation.PruneAgain(tries); got != want {
			t.Errorf("after %d tries the wait is %s, want %s", tries, got, want)
		}
	}
}
