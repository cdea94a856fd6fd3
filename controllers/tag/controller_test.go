package tag_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/controllertest"
	tagcontroller "github.com/images-io/tagger/controllers/tag"
	"github.com/images-io/tagger/controllers/tag/prune"
	"github.com/images-io/tagger/controllers/tag/state"
	"github.com/images-io/tagger/internal/cachetransform"
	"github.com/images-io/tagger/internal/generation"
	"github.com/images-io/tagger/internal/importer"
)

func TestMain(m *testing.M) { os.Exit(controllertest.Run(context.Background(), m)) }

// world is an API server, a cache that may be behind it, and a registry.
type world struct {
	t          *testing.T
	live       client.WithWatch
	cached     *v1.Tag
	registry   *registry
	queue      *fakeJobs
	mirror     *collector
	events     *events.FakeRecorder
	clock      *clocktesting.FakePassiveClock
	reconciler *tagcontroller.Reconciler
}

type registry struct {
	digest  string
	err     error
	imports int
	asked   []importer.Options
	// then happens on the API server during the next import or check, before the status is written.
	then func()
	// copied is what it took to mirror the image, and verified what the internal registry says of one in use.
	copied   importer.CopyResult
	verified error
	verifies int
	// onImport is what an import says, and no check.
	onImport error
}

// inProgress and later are states, which the tests set as errors.
type inProgress importer.Mirroring

func (inProgress) Error() string { return "in progress" }

// answer returns what the test set.
func (r *registry) answer(err error) (importer.Result, error) {
	var mirroring *inProgress
	switch {
	case errors.As(err, &mirroring):
		return importer.Result{State: importer.InProgress, Mirroring: (*importer.Mirroring)(mirroring)}, nil
	case errors.As(err, new(later)):
		return importer.Result{State: importer.Deferred, RetryAfter: 3 * time.Second}, nil
	default:
		return importer.Result{Reference: "quay.io/company/myapp@" + r.digest, Digest: r.digest, Copy: r.copied}, err
	}
}

func (r *registry) Import(tag *v1.Tag, options importer.Options) (importer.Result, error) {
	r.imports++
	if r.onImport != nil {
		return r.answer(r.onImport)
	}
	return r.Check(tag, options)
}

func (r *registry) Check(_ *v1.Tag, options importer.Options) (importer.Result, error) {
	r.asked = append(r.asked, options)
	if r.then != nil {
		r.then()
		r.then = nil
	}
	return r.answer(r.err)
}

func (r *registry) Verify(*v1.Tag, *v1.Reference) (importer.Result, error) {
	r.verifies++
	return r.answer(r.verified)
}

// verifyInterval is how often an image in the internal registry is verified.
const verifyInterval = time.Hour

func newWorld(t *testing.T, tag *v1.Tag) *world {
	t.Helper()
	w := &world{t: t, live: controllertest.API(t), registry: &registry{digest: "sha256:aa"}, queue: &fakeJobs{}, mirror: &collector{}, events: events.NewFakeRecorder(10)}
	controllertest.Create(t, tag)
	cache := interceptor.NewClient(w.live, interceptor.Funcs{Get: w.getCached})
	w.clock = clocktesting.NewFakePassiveClock(startOf(w.tag()))
	w.reconciler = &tagcontroller.Reconciler{
		Client: cache, Importer: w.registry, Jobs: w.queue, Pruner: &prune.Pruner{Registry: w.mirror}, VerifyInterval: verifyInterval,
		Events: w.events, Clock: w.clock, State: state.NewState(w.clock),
	}
	w.readLive(controllertest.BoundedLists(t, w.live))
	return w
}

// startOf returns a time of about noon, half an interval before the verification of a Tag. Its UID spreads the verifications,
// and the API server assigns it.
func startOf(tag *v1.Tag) time.Time {
	noon := controllertest.SomeTime.Add(time.Hour)
	return generation.NextPoll(string(tag.UID), verifyInterval, noon).Add(-verifyInterval / 2).Truncate(time.Second)
}

// readLive sets the client for reads that must not come from the cache.
func (w *world) readLive(live client.Reader) {
	w.reconciler.Live, w.reconciler.Pruner.Live = live, live
}

// getCached answers from the cache, where it is behind.
func (w *world) getCached(ctx context.Context, live client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if w.cached != nil {
		w.cached.DeepCopyInto(object.(*v1.Tag))
		return nil
	}
	return live.Get(ctx, key, object, options...)
}

// freezeCache has the cache stay where it is now.
func (w *world) freezeCache() { w.cached = w.tag() }

func (w *world) tag() *v1.Tag {
	w.t.Helper()
	var tag v1.Tag
	if err := w.live.Get(w.t.Context(), controllertest.Name, &tag); err != nil {
		w.t.Fatal(err)
	}
	return &tag
}

func (w *world) change(change func(*v1.Tag)) {
	w.t.Helper()
	tag := w.tag()
	change(tag)
	if err := w.live.Update(w.t.Context(), tag); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reconcile() ctrl.Result {
	w.t.Helper()
	result, err := w.reconciler.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: controllertest.Name})
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

func (w *world) generations() (generations []int64) {
	for _, ref := range w.tag().Status.References {
		generations = append(generations, ref.Generation)
	}
	return generations
}

func TestImport_StaleCache(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.freezeCache()
	w.reconcile()
	w.registry.digest = "sha256:bb"
	w.reconcile()
	if got := w.generations(); len(got) != 1 || w.tag().Status.Digest != "sha256:aa" {
		t.Errorf("generations %v with %s, want just the first", got, w.tag().Status.Digest)
	}
}

func TestImport_LabelsChangeMeanwhile(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.registry.then = func() { w.change(func(tag *v1.Tag) { tag.Labels = map[string]string{"a": "b"} }) }
	w.reconcile()
	if got := w.generations(); len(got) != 1 || w.registry.imports != 1 || w.tag().Labels["a"] != "b" {
		t.Errorf("generations %v after %d imports, labels %v", got, w.registry.imports, w.tag().Labels)
	}
}

// TestStatus_UnknownFields: a newer version may have written more, which no test can equal.
func TestStatus_UnknownFields(t *testing.T) {
	tag := controllertest.NewTag()
	tag.RecordFailure(v1.ReasonUnavailable, "no answer", false, metav1.NewTime(time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)))
	w := newWorld(t, tag)
	w.freezeCache()
	w.cached.Status.LastImportAttempt.Reason = "what these types make of it"
	w.readLive(w.reconciler.Client)
	w.cached.ResourceVersion = w.tag().ResourceVersion
	w.reconcile()
	if got := w.generations(); len(got) != 1 {
		t.Errorf("generations %v, want one", got)
	}
}

func TestImport_SourceChangesMeanwhile(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.registry.then = func() { w.change(func(tag *v1.Tag) { tag.Spec.From = "quay.io/company/other:latest" }) }
	if result := w.reconcile(); result.RequeueAfter <= 0 {
		t.Error("nothing is scheduled after an outcome that was dropped")
	}
	if got := w.generations(); len(got) != 0 {
		t.Errorf("generations %v, want none of the old source", got)
	}
	w.reconcile()
	if got := w.tag().Status.References; len(got) != 1 || got[0].From != "quay.io/company/other:latest" {
		t.Errorf("references %v, want one of the new source", got)
	}
}

func TestImport_UnreadableAfterConflict(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.registry.then = func() { w.change(func(tag *v1.Tag) { tag.Spec.HistoryLimit = 7 }) }
	w.readLive(interceptor.NewClient(w.live, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("no answer")
		},
	}))
	if _, err := w.reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: controllertest.Name}); err == nil {
		t.Error("no error, so the import would be lost")
	}
}

// TestARefusalIsTriedAgainByANewProcess: the policy may have been lifted together with the restart.
func TestARefusalIsTriedAgainByANewProcess(t *testing.T) {
	tag := controllertest.NewTag()
	tag.RecordFailure(v1.ReasonRefusedByPolicy, "blocked", true, metav1.NewTime(time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)))
	w := newWorld(t, tag)
	w.reconcile()
	if w.registry.imports != 1 || !w.tag().IsReady() {
		t.Errorf("%d imports, ready: %v", w.registry.imports, w.tag().IsReady())
	}
}

// TestAnAttemptInTheFutureIsFollowedByOne: another leader, whose clock was an hour ahead, made it.
func TestAnAttemptInTheFutureIsFollowedByOne(t *testing.T) {
	for _, reason := range []v1.Reason{v1.ReasonUnavailable, v1.ReasonInvalidContent} {
		t.Run(string(reason), func(t *testing.T) {
			tag := controllertest.NewTag()
			tag.RecordFailure(reason, "no", !reason.Retried(), metav1.NewTime(time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)))
			w := newWorld(t, tag)
			w.registry.err = notFound{errors.New("there is no such tag")}
			for range 3 {
				w.reconcile()
			}
			status := w.tag().Status
			if w.registry.imports != 1 || status.LastImportAttempt.When.After(w.clock.Now()) || w.tag().FailingSince().After(w.clock.Now()) {
				t.Errorf("%d imports, want 1; the attempt is of %s, failing since %s", w.registry.imports, status.LastImportAttempt.When, w.tag().FailingSince())
			}
		})
	}
}

// TestATagAtTheHighestGenerationSaysSo: no image can follow, so the registry is not asked for any.
func TestATagAtTheHighestGenerationSaysSo(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	imported := func(tag *v1.Tag) {
		tag.Status = v1.TagStatus{}
		tag.RecordImport(v1.Reference{Generation: v1.MaxGeneration, From: tag.Spec.From, ImageReference: "quay.io/company/myapp@sha256:aa", ImportedAt: controllertest.SomeTime})
	}
	w.changeStatus(imported) // the API server refuses this generation in a new Tag
	w.change(func(tag *v1.Tag) {
		tag.Spec.Generation = ptr.To[int64](v1.MaxGeneration)
		tag.Annotations = map[string]string{v1.AnnotationRequestedCheck: "1"}
		tag.MarkAdmitted()
	})
	w.changeStatus(imported) // for the new spec
	for range 3 {
		if result := w.reconcile(); result.RequeueAfter > 0 {
			t.Errorf("another try in %s", result.RequeueAfter)
		}
	}
	got := w.tag()
	if got.NotReadyReason() != v1.ReasonUnknownGeneration || !strings.Contains(got.Status.Conditions[0].Message, "is the highest possible number") {
		t.Errorf("the conditions are %+v", got.Status.Conditions)
	}
	if len(w.registry.asked) != 0 || got.Status.Digest != "sha256:aa" {
		t.Errorf("the registry was asked %d times; the digest in use is %s", len(w.registry.asked), got.Status.Digest)
	}
}

func TestStatus_TagIsGone(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.registry.then = func() {
		if err := w.live.Delete(t.Context(), w.tag()); err != nil {
			t.Fatal(err)
		}
	}
	w.reconcile()
}

type notFound struct{ error }

func (notFound) Reason() v1.Reason { return v1.ReasonNotFound }

func TestAFailureIsWrittenOnceAndWaits(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.registry.err = notFound{errors.New("there is no such tag")}
	first := w.reconcile()
	second := w.reconcile()
	if w.registry.imports != 1 || first.RequeueAfter <= 0 || second.RequeueAfter <= 0 {
		t.Errorf("%d imports, waits %s and %s; want one import and two waits", w.registry.imports, first.RequeueAfter, second.RequeueAfter)
	}
	if event := <-w.events.Events; !strings.Contains(event, "ImportFailed NotFound: there is no such tag") {
		t.Errorf("the event is %q", event)
	}
}

// hiddenCause is a failure whose cause the Tag's status must not show.
type hiddenCause struct{ notFound }

func (hiddenCause) Detail() string { return "10.0.0.7 refuses connections" }

func TestImport_CauseIsInTheLogOnly(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.registry.err = hiddenCause{notFound{errors.New("the host cannot be reached")}}
	var lines []string
	logger := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
	if _, err := w.reconciler.Reconcile(logr.NewContext(t.Context(), logger), ctrl.Request{NamespacedName: controllertest.Name}); err != nil {
		t.Fatal(err)
	}
	const cause = "10.0.0.7 refuses connections"
	if text := strings.Join(lines, "\n"); !strings.Contains(text, cause) {
		t.Errorf("the log says %q", text)
	}
	if text := fmt.Sprint(w.tag().Status, <-w.events.Events); strings.Contains(text, cause) {
		t.Errorf("the status and the event say %q", text)
	}
}

func TestImport_APIServerFails(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.registry.err = errors.New("the pull secrets cannot be read")
	if _, err := w.reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: controllertest.Name}); err == nil {
		t.Error("no error")
	}
	if attempt := w.tag().Status.LastImportAttempt; attempt != nil {
		t.Errorf("the status says %+v", attempt)
	}
}

func TestNothingIsWrittenWhileNothingChanges(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.reconcile()
	before := w.tag().ResourceVersion
	for range 3 {
		w.reconcile()
	}
	if after := w.tag().ResourceVersion; after != before || w.registry.imports != 1 {
		t.Errorf("resourceVersion %s, was %s, after %d imports", after, before, w.registry.imports)
	}
}

func TestReconcile_UnknownGeneration(t *testing.T) {
	tag := controllertest.NewTag()
	tag.RecordImport(v1.Reference{Generation: 3, From: tag.Spec.From, ImageReference: "quay.io/company/myapp@sha256:aa", ImportedAt: controllertest.SomeTime})
	w := newWorld(t, tag)
	if result := w.reconcile(); result.RequeueAfter != 0 {
		t.Errorf("it waits %s, want a change", result.RequeueAfter)
	}
	if got := w.tag().NotReadyReason(); got != v1.ReasonUnknownGeneration {
		t.Errorf("the reason is %q", got)
	}
}

func polled(every time.Duration) *v1.Tag {
	tag := controllertest.NewTag()
	tag.Spec.Interval = &metav1.Duration{Duration: every}
	return tag
}

// TestAPollBringsANewGeneration runs without a webhook, so the controller adopts the request.
func TestAPollBringsANewGeneration(t *testing.T) {
	w := newWorld(t, polled(time.Minute))
	wait := w.reconcile().RequeueAfter
	if wait <= 0 || wait > time.Minute {
		t.Fatalf("the first poll is due in %s, want at most the interval", wait)
	}
	w.registry.digest = "sha256:bb"
	w.reconcile()
	if got := w.generations(); len(got) != 1 {
		t.Errorf("generations %v before the poll is due", got)
	}
	w.clock.SetTime(w.clock.Now().Add(wait))
	for range 3 { // ask, move, import
		w.reconcile()
	}
	tag := w.tag()
	if got := w.generations(); len(got) != 2 || *tag.Status.Generation != 1 || tag.Newest().Trigger != v1.TriggerPoll {
		t.Errorf("generations %v, at %d, by %s; want 1 by Poll", got, *tag.Status.Generation, tag.Newest().Trigger)
	}
}

func TestAPollOfAnUnchangedImageWritesNothing(t *testing.T) {
	w := newWorld(t, polled(time.Minute))
	wait := w.reconcile().RequeueAfter
	before := w.tag().ResourceVersion
	w.clock.SetTime(w.clock.Now().Add(wait))
	if next := w.reconcile().RequeueAfter; next != time.Minute {
		t.Errorf("the next poll is due in %s, want 1m", next)
	}
	if after := w.tag().ResourceVersion; after != before {
		t.Errorf("the Tag was written: resourceVersion %s, was %s", after, before)
	}
}

func TestPoll_RetriesBeforeNextInterval(t *testing.T) {
	w := newWorld(t, polled(time.Hour))
	w.clock.SetTime(w.clock.Now().Add(w.reconcile().RequeueAfter))
	w.registry.err = notFound{errors.New("there is no such tag")}
	if wait := w.reconcile().RequeueAfter; wait <= 0 || wait > 2*time.Second {
		t.Errorf("the next try is due in %s, want about a second", wait)
	}
	if tag := w.tag(); tag.Current() == nil || tag.NotReadyReason() != v1.ReasonNotFound {
		t.Errorf("the status is %+v", tag.Status)
	}
}

// later is what an Importer says when it is not the Tag's turn.
type later struct{ error }

func (later) Deferred() time.Duration { return 3 * time.Second }

func TestImport_DeferredWritesNothing(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	before := w.tag().ResourceVersion
	w.registry.err = later{errors.New("others are there")}
	if wait := w.reconcile().RequeueAfter; wait != 3*time.Second {
		t.Errorf("it comes back in %s, want 3s", wait)
	}
	w.clock.SetTime(w.clock.Now().Add(time.Second))
	if wait := w.reconcile().RequeueAfter; wait != 2*time.Second || w.registry.imports != 1 {
		t.Errorf("it comes back in %s after %d imports, want 2s after one", wait, w.registry.imports)
	}
	if after := w.tag().ResourceVersion; after != before {
		t.Errorf("the Tag was written: resourceVersion %s, was %s", after, before)
	}
	first := w.clock.Now().Add(-time.Second)
	w.registry.err = nil
	w.clock.SetTime(w.clock.Now().Add(2 * time.Second))
	w.reconcile()
	if got := w.registry.asked[1].NotBefore; !w.tag().IsReady() || !got.Equal(first) {
		t.Errorf("ready: %v, with answers since %s, want since the first try at %s", w.tag().IsReady(), got, first)
	}
}

// TestReconcile_PriorityOfRetries: Tags that fail are served before those that are polled.
func TestReconcile_PriorityOfRetries(t *testing.T) {
	postponed, missing := later{errors.New("others are there")}, notFound{errors.New("there is no such tag")}
	for name, row := range map[string]struct {
		change func(*world)
		err    error
		want   int
	}{
		"a Tag that fails":     {func(*world) {}, missing, -50},
		"a Tag that is polled": {func(w *world) { w.change(everyMinute); w.reconcile() }, postponed, -100},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, controllertest.NewTag())
			row.change(w)
			w.registry.err = row.err
			w.clock.SetTime(w.clock.Now().Add(time.Hour))
			result := w.reconcile()
			if result.RequeueAfter <= 0 || result.Priority == nil || *result.Priority != row.want {
				t.Errorf("it comes back in %s with priority %v, want %d", result.RequeueAfter, ptr.Deref(result.Priority, 1), row.want)
			}
		})
	}
}

func everyMinute(tag *v1.Tag) { tag.Spec.Interval = &metav1.Duration{Duration: time.Minute} }

// TestPush_WhileDeferredIsFresh: the answer to the push before may be older than this one.
func TestPush_WhileDeferredIsFresh(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.reconcile()
	push := func(request string) {
		w.clock.SetTime(w.clock.Now().Add(time.Second))
		w.change(func(tag *v1.Tag) { metav1.SetMetaDataAnnotation(&tag.ObjectMeta, v1.AnnotationRequestedCheck, request) })
		w.reconcile()
	}
	w.registry.err = later{errors.New("others are there")}
	push("r1")
	w.registry.err = nil
	push("r2")
	asked := w.registry.asked
	if got := asked[len(asked)-1]; len(asked) != 3 || !got.NotBefore.Equal(w.clock.Now()) || got.Poll {
		t.Errorf("asked with %+v, want the last one for news", asked)
	}
	if got := w.tag().Status.LastHandledRequest; got != "r2" {
		t.Errorf("handled %q, want r2", got)
	}
}

// TestPush_TooEarlyIsRepeated: registries notify before the tag can be read (distribution#2625).
func TestPush_TooEarlyIsRepeated(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.reconcile()
	w.request("push/1")
	w.reconcile()
	asked := len(w.registry.asked)
	if again := w.reconcile(); again.RequeueAfter <= 0 || again.RequeueAfter > generation.RepeatPushAfter || len(w.registry.asked) != asked {
		t.Fatalf("the next check is in %s; %d checks, want %d", again.RequeueAfter, len(w.registry.asked), asked)
	}
	w.registry.digest = "sha256:bb"
	w.pass(generation.RepeatPushAfter)
	w.reconcile()
	if got := w.registry.asked[len(w.registry.asked)-1]; len(w.registry.asked) != asked+1 || !got.NotBefore.Equal(w.clock.Now()) || got.Poll {
		t.Errorf("asked with %+v, want a check for news", w.registry.asked)
	}
	if got := w.tag().Annotations[v1.AnnotationTrigger]; got != "1=Push" {
		t.Errorf("the trigger is %q", got)
	}
}

func TestPush_RepeatedOnce(t *testing.T) {
	for request, want := range map[string]int{"push/1": 3, "user/1": 2, "1": 2} {
		t.Run(request, func(t *testing.T) {
			w := newWorld(t, controllertest.NewTag())
			w.reconcile()
			w.request(request)
			for range 5 {
				w.reconcile()
				w.pass(generation.RepeatPushAfter)
			}
			if got := len(w.registry.asked); got != want {
				t.Errorf("%d requests, want %d", got, want)
			}
		})
	}
}

func TestCheck_OfAUser(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.reconcile()
	w.registry.digest = "sha256:bb"
	w.request("user/1")
	w.reconcile()
	if got := w.tag().Annotations[v1.AnnotationTrigger]; got != "1=User" {
		t.Errorf("the trigger is %q", got)
	}
}

func TestAPollSaysThatItIsOne(t *testing.T) {
	w := newWorld(t, polled(time.Minute))
	w.clock.SetTime(w.clock.Now().Add(w.reconcile().RequeueAfter))
	w.reconcile()
	if asked := w.registry.asked; len(asked) != 2 || asked[0].Poll || !asked[1].Poll || asked[1].NotBefore.After(w.clock.Now()) {
		t.Errorf("asked with %+v", asked)
	}
}

// limited is what an Importer says while a registry is left alone.
type limited struct{ error }

func (limited) Reason() v1.Reason         { return v1.ReasonRateLimited }
func (limited) RetryAfter() time.Duration { return 2 * time.Minute }

func TestImport_RegistryAsksToWait(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.registry.err = limited{errors.New("not before 12:02")}
	first := w.reconcile().RequeueAfter
	if first < 2*time.Minute || first > 132*time.Second {
		t.Fatalf("it comes back in %s, want after 2m", first)
	}
	before := w.tag()
	if before.NotReadyReason() != v1.ReasonRateLimited || before.Status.LastImportAttempt == nil {
		t.Errorf("the status is %+v", before.Status)
	}
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	w.reconcile()
	if w.registry.imports != 1 {
		t.Errorf("%d imports before the time", w.registry.imports)
	}
	w.change(func(tag *v1.Tag) { metav1.SetMetaDataAnnotation(&tag.ObjectMeta, v1.AnnotationRequestedCheck, "r1") })
	before = w.tag()
	w.reconcile() // a push, which is refused for the same reason
	if after := w.tag(); after.ResourceVersion != before.ResourceVersion || w.registry.imports != 2 {
		t.Errorf("the Tag was written again: resourceVersion %s, was %s, after %d imports", after.ResourceVersion, before.ResourceVersion, w.registry.imports)
	}
	w.registry.err = nil
	w.clock.SetTime(w.clock.Now().Add(132 * time.Second))
	w.reconcile()
	if !w.tag().IsReady() {
		t.Errorf("the status is %+v", w.tag().Status)
	}
}

// TestStatus_ResultFromBeforeAFreeze: while this process stood still, another one was leader and handled a newer
// request. The registry had nothing new for either, so nothing else of the status tells.
func TestStatus_ResultFromBeforeAFreeze(t *testing.T) {
	w := newWorld(t, controllertest.NewTag())
	w.reconcile()
	w.request("1")
	w.registry.then = func() {
		w.request("2")
		w.changeStatus(func(tag *v1.Tag) { tag.Status.LastHandledRequest = "2" })
	}
	w.reconcile()
	if got := w.tag().Status.LastHandledRequest; got != "2" {
		t.Errorf("the last handled request is %q, want 2", got)
	}
}

func (w *world) request(value string) {
	w.t.Helper()
	w.change(func(tag *v1.Tag) {
		if tag.Annotations == nil {
			tag.Annotations = map[string]string{}
		}
		tag.Annotations[v1.AnnotationRequestedCheck] = value
	})
}

func (w *world) changeStatus(change func(*v1.Tag)) {
	w.t.Helper()
	tag := w.tag()
	change(tag)
	if err := w.live.Status().Update(w.t.Context(), tag); err != nil {
		w.t.Fatal(err)
	}
}

// emptied is a world whose Tag was rolled back from generation 1 to 0, and whose status a user cleared since. The
// registry has gone on.
func emptied(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, controllertest.NewTag())
	w.reconcile()
	w.registry.digest = "sha256:bb"
	w.request("1")
	for range 3 { // ask, move, import
		w.reconcile()
	}
	w.change(func(tag *v1.Tag) { tag.Spec.Generation = new(int64) })
	w.reconcile()
	w.registry.digest = "sha256:cc"
	w.changeStatus(func(tag *v1.Tag) { tag.Status = v1.TagStatus{} })
	return w
}

func TestReconcile_ClearedStatus(t *testing.T) {
	w := emptied(t)
	w.reconcile()
	w.reconcile()
	if tag := w.tag(); *tag.Status.Generation != 0 || tag.Status.Digest != "sha256:cc" || !tag.IsReady() || len(w.generations()) != 1 {
		t.Errorf("the status is %+v, want generation 0 as the registry has it now", tag.Status)
	}
}

// TestPatch_KeepsUncachedAnnotations: a merge patch from what is cached that drops the last annotation of it
// must not drop all that is stored.
func TestPatch_KeepsUncachedAnnotations(t *testing.T) {
	for request, why := range map[string]string{"x": "a request that is discarded", "1": "a request that admission missed"} {
		t.Run(why, func(t *testing.T) {
			w := newWorld(t, controllertest.NewTag())
			w.reconcile()
			w.change(func(tag *v1.Tag) {
				tag.Annotations = map[string]string{
					v1.AnnotationRequestedGeneration: request, "example.com/owner": "team", v1.AnnotationTrigger: strings.Repeat("a", 64<<10+1),
				}
			})
			kept, err := cachetransform.Tag(w.tag())
			if err != nil {
				t.Fatal(err)
			}
			w.cached = kept.(*v1.Tag)
			w.reconcile()
			got := w.tag().Annotations
			if _, left := got[v1.AnnotationRequestedGeneration]; left || got["example.com/owner"] != "team" || got[v1.AnnotationTrigger] == "" {
				t.Errorf("the Tag keeps the annotations %v", slices.Sorted(maps.Keys(got)))
			}
		})
	}
}
