package generation_test

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/generation"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

type edit func(*v1.Tag)

// tag is one that follows quay.io/company/myapp:latest; the edits make it what the row says.
func tag(edits ...edit) *v1.Tag {
	t := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Name: "myapp", Namespace: "dev", UID: "uid", Generation: 3}, Spec: v1.TagSpec{From: "quay.io/company/myapp:latest"}}
	for _, e := range edits {
		e(t)
	}
	return t
}

func wants(g int64) edit { return func(t *v1.Tag) { t.Spec.Generation = &g } }

func imported(generations ...int64) edit {
	return func(t *v1.Tag) {
		for _, g := range generations {
			t.RecordImport(v1.Reference{Generation: g, From: t.Spec.From, ImportedAt: metav1.NewTime(now.Add(-time.Hour)), ImageReference: "quay.io/company/myapp@sha256:aa"})
		}
	}
}

func uses(g int64) edit {
	return func(t *v1.Tag) { t.Select(g, metav1.NewTime(now.Add(-time.Minute))) }
}

func failed(reason v1.Reason, ago time.Duration) edit {
	return func(t *v1.Tag) { t.RecordFailure(reason, "why", !reason.Retried(), metav1.NewTime(now.Add(-ago))) }
}

func annotated(key, value string) edit {
	return func(t *v1.Tag) { metav1.SetMetaDataAnnotation(&t.ObjectMeta, key, value) }
}

func editedSince() edit { return func(t *v1.Tag) { t.Generation++ } }

func every(d time.Duration) edit {
	return func(t *v1.Tag) { t.Spec.Interval = &metav1.Duration{Duration: d} }
}

func admitted() edit { return func(t *v1.Tag) { t.MarkAdmitted() } }

func cached() edit { return func(t *v1.Tag) { t.Spec.Cache = true } }

func handled(request string) edit {
	return func(t *v1.Tag) { t.Status.LastHandledRequest = request }
}

func from(source string) edit { return func(t *v1.Tag) { t.Spec.From = source } }

func TestPlan(t *testing.T) {
	for name, row := range map[string]struct {
		tag     *v1.Tag
		changed time.Time
		tried   string
		bar     generation.Hold
		want    generation.Decision
	}{
		"a new Tag is imported as generation 0": {
			tag:  tag(wants(0)),
			want: generation.Decision{Action: generation.Import, Trigger: v1.TriggerImport},
		},
		"a Tag restored from a backup is imported as the generation that it had": {
			tag:  tag(wants(7)),
			want: generation.Decision{Action: generation.Import, Generation: 7, Trigger: v1.TriggerImport},
		},
		"a Tag at the highest generation cannot import another image": {
			tag:  tag(imported(v1.MaxGeneration), wants(v1.MaxGeneration), annotated(v1.AnnotationRequestedCheck, "new")),
			want: generation.Decision{Action: generation.Reject, Generation: v1.MaxGeneration},
		},
		"nor when its source changes": {
			tag:  tag(imported(v1.MaxGeneration), wants(v1.MaxGeneration), annotated(v1.AnnotationAdmittedSource, "quay.io/company/other")),
			want: generation.Decision{Action: generation.Reject, Generation: v1.MaxGeneration},
		},
		"but it goes back to an older one": {
			tag:  tag(imported(3, v1.MaxGeneration), wants(3), editedSince()),
			want: generation.Decision{Action: generation.Select, Generation: 3},
		},
		"an attempt in the future holds nothing back": {
			tag:  tag(wants(0), failed(v1.ReasonUnavailable, -time.Hour)),
			want: generation.Decision{Action: generation.Import, Trigger: v1.TriggerImport},
		},
		"a Tag without a generation is imported as generation 0": {
			tag:  tag(),
			want: generation.Decision{Action: generation.Import, Trigger: v1.TriggerImport},
		},
		"the newest one plus 1 is imported, even for the same digest": {
			tag:  tag(imported(0), wants(1), editedSince()),
			want: generation.Decision{Action: generation.Import, Generation: 1, Trigger: v1.TriggerUser},
		},
		"what Tagger asked for keeps what brought it": {
			tag:  tag(imported(0), wants(1), editedSince(), annotated(v1.AnnotationTrigger, "1=Poll")),
			want: generation.Decision{Action: generation.Import, Generation: 1, Trigger: v1.TriggerPoll},
		},
		"a trigger of another generation says nothing": {
			tag:  tag(imported(0, 1), wants(2), editedSince(), annotated(v1.AnnotationTrigger, "1=Poll")),
			want: generation.Decision{Action: generation.Import, Generation: 2, Trigger: v1.TriggerUser},
		},
		"a known generation is selected without the registry": {
			tag:  tag(imported(0, 1), wants(0), editedSince()),
			want: generation.Decision{Action: generation.Select},
		},
		"a Tag at the generation that is requested is kept": {
			tag:  tag(wants(1), imported(0, 1)),
			want: generation.Decision{Action: generation.Keep},
		},
		"a Tag whose generation was left out stays where it is": {
			tag:  tag(imported(0, 1), uses(0)),
			want: generation.Decision{Action: generation.Keep},
		},
		"a generation that is not kept any more is rejected": {
			tag:  tag(imported(3, 4), wants(1), editedSince()),
			want: generation.Decision{Action: generation.Reject, Generation: 1},
		},
		"going back from a generation that could not be imported makes the Tag ready again": {
			tag:  tag(wants(0), imported(0), failed(v1.ReasonNotFound, time.Second), editedSince()),
			want: generation.Decision{Action: generation.Refresh},
		},
		"a source that changed while admission was away makes a generation": {
			tag:  tag(wants(1), imported(0, 1), from("quay.io/company/other:latest"), editedSince()),
			want: generation.Decision{Action: generation.Bump, Generation: 2, Trigger: v1.TriggerUser},
		},
		"a cached source that admission missed makes a generation": {
			tag:  tag(wants(1), imported(0, 1), admitted(), cached(), editedSince()),
			want: generation.Decision{Action: generation.Bump, Generation: 2, Trigger: v1.TriggerUser},
		},
		"going back from a source that cannot be imported sticks": {
			tag:  tag(wants(1), imported(0, 1), from("quay.io/company/broken:latest"), admitted(), failed(v1.ReasonNotFound, time.Second), editedSince()),
			want: generation.Decision{Action: generation.Refresh, Generation: 1},
		},
		"a request that admission missed is carried out": {
			tag:  tag(wants(1), imported(0, 1), annotated(v1.AnnotationRequestedGeneration, "0")),
			want: generation.Decision{Action: generation.Adopt},
		},
		"a request that admission missed and that cannot be met is dropped": {
			tag:  tag(wants(1), imported(0, 1), annotated(v1.AnnotationRequestedGeneration, "9")),
			want: generation.Decision{Action: generation.Discard},
		},
		"a failed import waits for its next try": {
			tag:  tag(wants(0), failed(v1.ReasonUnavailable, 0)),
			want: generation.Decision{Action: generation.Keep, After: 1200 * time.Millisecond},
		},
		"a failed import is tried again when it is due": {
			tag:  tag(wants(0), failed(v1.ReasonUnavailable, 2*time.Second)),
			want: generation.Decision{Action: generation.Import, Trigger: v1.TriggerImport},
		},
		"what only an edit can cure is not tried again": {
			tag:  tag(wants(0), failed(v1.ReasonInvalidContent, time.Hour)),
			want: generation.Decision{Action: generation.Keep},
		},
		"an edit has it tried again": {
			tag:  tag(wants(0), failed(v1.ReasonInvalidContent, time.Hour), editedSince()),
			want: generation.Decision{Action: generation.Import, Trigger: v1.TriggerImport},
		},
		"a change of the configuration has it tried again": {
			tag:     tag(wants(0), failed(v1.ReasonRefusedByPolicy, time.Hour)),
			changed: now.Add(-time.Minute),
			want:    generation.Decision{Action: generation.Import, Trigger: v1.TriggerImport},
		},
		"a change in the second of the attempt is not tried before that second is over": {
			tag:     tag(wants(0), failed(v1.ReasonRefusedByPolicy, 0)),
			changed: now.Add(time.Millisecond),
			want:    generation.Decision{Action: generation.Keep, After: time.Second},
		},
		"a requested check is made": {
			tag:  tag(wants(0), imported(0), annotated(v1.AnnotationRequestedCheck, "r1")),
			want: generation.Decision{Action: generation.Check, Trigger: v1.TriggerPush, Request: "r1"},
		},
		"a request that was taken away is none": {
			tag:  tag(wants(0), imported(0), handled("r1")),
			want: generation.Decision{Action: generation.Keep},
		},
		"a request that was tried and failed waits for its next try": {
			tag:   tag(wants(0), imported(0), annotated(v1.AnnotationRequestedCheck, "r1"), failed(v1.ReasonUnavailable, 0)),
			tried: "r1",
			want:  generation.Decision{Action: generation.Keep, After: time.Second},
		},
		"a new request does not wait for what failed before": {
			tag:   tag(wants(0), imported(0), annotated(v1.AnnotationRequestedCheck, "r2"), failed(v1.ReasonUnavailable, 0)),
			tried: "r1",
			want:  generation.Decision{Action: generation.Check, Trigger: v1.TriggerPush, Request: "r2"},
		},
		"a push wakes an import that waits": {
			tag:  tag(wants(0), annotated(v1.AnnotationRequestedCheck, "r1"), failed(v1.ReasonInvalidContent, time.Hour)),
			want: generation.Decision{Action: generation.Import, Trigger: v1.TriggerImport, Request: "r1"},
		},
		"a request that failed is not lost by an edit": {
			tag:   tag(wants(0), imported(0), annotated(v1.AnnotationRequestedCheck, "r1")),
			tried: "r1",
			want:  generation.Decision{Action: generation.Check, Trigger: v1.TriggerPush, Request: "r1"},
		},
		"a poll goes on after what only an edit can cure": {
			tag:  tag(wants(0), imported(0), every(time.Minute), failed(v1.ReasonInvalidContent, time.Hour)),
			want: generation.Decision{Action: generation.Check, Trigger: v1.TriggerPoll},
		},
		"an import answers the check that was requested before it": {
			tag:  tag(wants(1), imported(0), editedSince(), annotated(v1.AnnotationRequestedCheck, "r1")),
			want: generation.Decision{Action: generation.Import, Generation: 1, Trigger: v1.TriggerUser, Request: "r1"},
		},
		"a poll is made when the interval has passed": {
			tag:  tag(wants(0), imported(0), every(time.Minute)),
			want: generation.Decision{Action: generation.Check, Trigger: v1.TriggerPoll},
		},
		"a failed check is made again when it is due": {
			tag:  tag(wants(0), imported(0), failed(v1.ReasonUnavailable, 2*time.Second)),
			want: generation.Decision{Action: generation.Check, Trigger: v1.TriggerPoll},
		},
		"a registry that asks to wait is not asked before": {
			tag:  tag(wants(0), failed(v1.ReasonRateLimited, 10*time.Second)),
			bar:  generation.Hold{Since: now.Add(-10 * time.Second), Until: now.Add(110 * time.Second)},
			want: generation.Decision{Action: generation.Keep, After: 110 * time.Second},
		},
		"a Tag whose turn it was not waits without a word in its status": {
			tag:  tag(wants(0)),
			bar:  generation.Hold{Since: now, Until: now.Add(time.Second)},
			want: generation.Decision{Action: generation.Keep, After: time.Second},
		},
		"a registry is asked when its time has come": {
			tag:  tag(wants(0), failed(v1.ReasonRateLimited, time.Minute)),
			bar:  generation.Hold{Since: now.Add(-time.Minute), Until: now},
			want: generation.Decision{Action: generation.Import, Trigger: v1.TriggerImport},
		},
		"a change of the configuration may lead to another registry": {
			tag:     tag(wants(0), failed(v1.ReasonRateLimited, 10*time.Second)),
			bar:     generation.Hold{Since: now.Add(-10 * time.Second), Until: now.Add(time.Hour)},
			changed: now.Add(-5 * time.Second),
			want:    generation.Decision{Action: generation.Import, Trigger: v1.TriggerImport},
		},
		"a known generation is selected while the registry is left alone": {
			tag:  tag(imported(0, 1), wants(0), editedSince()),
			bar:  generation.Hold{Since: now, Until: now.Add(time.Hour)},
			want: generation.Decision{Action: generation.Select},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := generation.Plan(generation.Input{
				Tag: row.tag, Now: now, Checked: now.Add(-time.Hour), Changed: row.changed, Tried: row.tried, Hold: row.bar,
			})
			if got.Why == "" {
				t.Error("the decision has no reason")
			}
			if (got.After > 0) != (row.want.After > 0) || got.After > row.want.After {
				t.Errorf("waits %s, want at most %s", got.After, row.want.After)
			}
			if since := now.Sub(got.NotBefore); !got.NotBefore.IsZero() && (!got.IsPoll() || since < 0 || since > time.Hour) {
				t.Errorf("an answer of %s ago is good enough for %s", since, got.Action)
			}
			got.After, got.Why, got.NotBefore = row.want.After, "", time.Time{}
			if got != row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
		})
	}
}

func TestAllowed(t *testing.T) {
	for name, row := range map[string]struct {
		tag        *v1.Tag
		generation int64
		want       bool
	}{
		"any before the first import":    {tag(), 7, true},
		"no negative one":                {tag(), -1, false},
		"no higher one than has room":    {tag(), v1.MaxFirstGeneration + 1, false},
		"none after the highest":         {tag(imported(v1.MaxGeneration)), v1.MaxGeneration + 1, false},
		"a known one":                    {tag(imported(3, 4)), 3, true},
		"the newest plus 1":              {tag(imported(3, 4)), 5, true},
		"not one that skips":             {tag(imported(3, 4)), 6, false},
		"not one that is not kept":       {tag(imported(3, 4)), 2, false},
		"the newest, not the one in use": {tag(imported(3, 4), uses(3)), 5, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := generation.Allowed(row.tag, row.generation); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestBackoffDoublesWithinItsBounds(t *testing.T) {
	since := now
	for failing, bounds := range map[time.Duration][2]time.Duration{
		0:                {time.Second, time.Second},
		8 * time.Second:  {6400 * time.Millisecond, 8 * time.Second},
		5 * time.Minute:  {48 * time.Second, time.Minute},
		11 * time.Minute: {8 * time.Minute, 10 * time.Minute},
		5 * time.Hour:    {8 * time.Minute, 10 * time.Minute},
	} {
		if got := generation.Backoff("uid", since, since.Add(failing)); got < bounds[0] || got > bounds[1] {
			t.Errorf("after %s of failures the wait is %s, want %s to %s", failing, got, bounds[0], bounds[1])
		}
	}
}

func TestAPollTakesAnAnswerFromWhenItWasDue(t *testing.T) {
	polled := tag(wants(0), imported(0), every(time.Minute))
	checked := now.Add(-time.Hour)
	got := generation.Plan(generation.Input{Tag: polled, Now: now, Checked: checked})
	if due := generation.NextPoll(polled.Spec.From, time.Minute, checked); got.Action != generation.Check || !got.NotBefore.Equal(due) {
		t.Errorf("%s with answers since %s, want since %s", got.Action, got.NotBefore, due)
	}
}

func TestNextPoll_SharedSource(t *testing.T) {
	due := map[time.Time]bool{}
	for i := range 100 {
		polled := tag(wants(0), imported(0), every(time.Hour))
		polled.UID = types.UID(rune(i))
		got := generation.Plan(generation.Input{Tag: polled, Now: now, Checked: now.Add(-time.Duration(i) * time.Second)})
		due[now.Add(got.After)] = true
	}
	if len(due) != 1 {
		t.Errorf("they are due at %d times, want one", len(due))
	}
}

func TestWaitsAreSpreadAndNeverShorter(t *testing.T) {
	for i := range 100 {
		if got := generation.Spread(string(rune(i)), time.Minute); got < time.Minute || got > 66*time.Second {
			t.Errorf("Tag %d waits %s, want 60 s to 66 s", i, got)
		}
	}
}

func TestRequestKey(t *testing.T) {
	for name, other := range map[string]*v1.Tag{
		"another spec":    tag(editedSince()),
		"another request": tag(annotated(v1.AnnotationRequestedCheck, "r1")),
	} {
		if generation.RequestKey(other) == generation.RequestKey(tag()) {
			t.Errorf("%s is the same question", name)
		}
	}
}

func TestNextPoll_Spread(t *testing.T) {
	const interval, tags, slices = 5 * time.Minute, 1000, 10
	var counts [slices]int
	for i := range tags {
		next := generation.NextPoll(string(rune(i)), interval, now)
		if wait := next.Sub(now); wait <= 0 || wait > interval {
			t.Fatalf("the next poll is %s away, want at most the interval", wait)
		}
		counts[int(next.Sub(now)*slices/(interval+1))]++
	}
	for i, count := range counts {
		if count < tags/slices/2 || count > tags/slices*2 {
			t.Errorf("slice %d of the interval has %d of %d polls", i, count, tags)
		}
	}
}

// TestAPollIsDueWhateverTheClockIsSetTo: the time between two checks is measured by the monotonic clock (package time). Without it a
// clock that is set back by an hour holds up polls for an hour.
func TestAPollIsDueWhateverTheClockIsSetTo(t *testing.T) {
	checked := time.Now()
	next := generation.NextPoll("quay.io/company/myapp", time.Minute, checked)
	if next == next.Round(0) || !next.Equal(next.Round(0)) {
		t.Errorf("%s has no monotonic reading, and %s has one", next, checked)
	}
}

func TestPollsKeepTheirDistance(t *testing.T) {
	first := generation.NextPoll("quay.io/company/myapp", time.Minute, now)
	if second := generation.NextPoll("quay.io/company/myapp", time.Minute, first); second.Sub(first) != time.Minute {
		t.Errorf("the polls are %s apart, want 1m", second.Sub(first))
	}
}

func TestTrim(t *testing.T) {
	for name, row := range map[string]struct {
		limit int32
		tag   *v1.Tag
		want  []int64
	}{
		"the oldest go":                          {2, tag(imported(0, 1, 2)), []int64{2, 1}},
		"the one in use stays":                   {2, tag(imported(0, 1, 2), uses(0)), []int64{2, 0}},
		"the newest one and the one in use stay": {1, tag(imported(0, 1, 2), uses(0)), []int64{2, 0}},
		"less than the limit stays":              {5, tag(imported(0, 1)), []int64{1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			row.tag.Spec.HistoryLimit = row.limit
			row.tag.Trim()
			var got []int64
			for _, ref := range row.tag.Status.References {
				got = append(got, ref.Generation)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// TestClocksAnHourApart has a manager fail whose clock is wrong, and then another one whose clock is right: it tries at once or within
// 10 minutes, and it neither hurries nor waits for longer than that afterwards.
func TestClocksAnHourApart(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		for failures := 1; failures <= 20; failures++ {
			failing := tag()
			next := func(clock time.Time) time.Duration {
				got := generation.Plan(generation.Input{Tag: failing, Now: clock, Changed: now.Add(-24 * time.Hour)})
				if got.Action != generation.Import && got.Action != generation.Keep {
					t.Fatalf("the action is %v", got.Action)
				}
				return got.After
			}
			clock := now
			for range failures {
				failing.RecordFailure(v1.ReasonUnavailable, "why", false, metav1.NewTime(clock.Add(skew)))
				clock = clock.Add(max(next(clock.Add(skew)), time.Second))
			}
			if wait := next(clock); wait > 10*time.Minute {
				t.Errorf("clock wrong by %s, %d failures: the next manager waits %s", skew, failures, wait)
			}
			for range 20 {
				failing.RecordFailure(v1.ReasonUnavailable, "why", false, metav1.NewTime(clock))
				wait := next(clock)
				if wait < time.Second || wait > 10*time.Minute {
					t.Fatalf("clock wrong by %s, %d failures: a retry after %s, want 1 s to 10 m", skew, failures, wait)
				}
				clock = clock.Add(wait)
			}
			failing.RecordImport(v1.Reference{From: failing.Spec.From, ImportedAt: metav1.NewTime(clock.Add(skew)), ImageReference: "quay.io/company/myapp@sha256:aa"})
			if got := generation.Plan(generation.Input{Tag: failing, Now: clock}); got.Action != generation.Keep || got.After != 0 || !failing.IsReady() {
				t.Errorf("clock wrong by %s: an import is followed by %+v", skew, got)
			}
		}
	}
}
