package tag_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/controllertest"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
	"github.com/images-io/tagger/internal/transfer"
)

const mirrorImage = "mirror.test/dev/myapp@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// copyResult puts what a copy did into a result.
func copyResult(did transfer.CopyResult, result importer.CopyResult) importer.CopyResult {
	result.CopyResult = did
	return result
}

// fakeJobs are the jobs that the test says. A job that a Tag waits for is in progress until isIdle.
type fakeJobs struct {
	running []int64
	isIdle  atomic.Bool
	settled atomic.Int32
	ended   func(client.ObjectKey)
}

func (j *fakeJobs) Ack(client.ObjectKey)                             { j.settled.Add(1) }
func (j *fakeJobs) CancelStale(jobs.Owner, func(int64, string) bool) {}
func (j *fakeJobs) Cancel(client.ObjectKey) bool                     { return len(j.running) == 0 }
func (j *fakeJobs) Copying(client.ObjectKey) []int64                 { return j.running }
func (j *fakeJobs) InProgress(client.ObjectKey, jobs.Kind) bool      { return !j.isIdle.Load() }
func (j *fakeJobs) OnEnd(ended func(client.ObjectKey))               { j.ended = ended }

// collector notes what is taken away from the internal registry, generation and whether the manifest is kept.
type collector struct {
	removed []string
	// kept are the digests that it was told last.
	kept []string
	err  error
	// left is how many more it takes away before it fails, if it is not nil.
	left *int
}

func (c *collector) Remove(_ context.Context, _ *v1.Tag, image v1.MirroredImage, kept []string) error {
	_, digest, _ := strings.Cut(image.ImageReference, "@")
	c.removed, c.kept = append(c.removed, fmt.Sprintf("%d %v", image.Generation, slices.Contains(kept, digest))), kept
	if c.left != nil {
		if *c.left--; *c.left < 0 {
			return context.DeadlineExceeded
		}
	}
	return c.err
}

func cached(generations ...int64) *v1.Tag {
	tag := controllertest.NewTag()
	tag.Spec.Cache = true
	for _, g := range generations {
		tag.RecordMirroring(v1.MirroredImage{Generation: g, ImageReference: mirrorImage})
		tag.RecordImport(v1.Reference{Generation: g, From: tag.Spec.From, ImageReference: mirrorImage, ImportedAt: controllertest.SomeTime})
		tag.Spec.Generation, tag.Finalizers = &g, []string{v1.FinalizerMirror}
	}
	tag.MarkAdmitted()
	return tag
}

// left is a Tag whose generation 0 left the history, and is in the internal registry still.
func left() *v1.Tag {
	tag := cached(0, 1)
	tag.Status.References = slices.DeleteFunc(tag.Status.References, func(r v1.Reference) bool { return r.Generation == 0 })
	tag.Status.Mirrored[1].ImageReference = oldMirrorImage
	return tag
}

const oldMirrorImage = "mirror.test/dev/myapp@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

func (w *world) said() (said []string) {
	for {
		select {
		case event := <-w.events.Events:
			said = append(said, event)
		default:
			return said
		}
	}
}

func (w *world) pass(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

func (w *world) condition(kind string) metav1.Condition {
	w.t.Helper()
	if found := meta.FindStatusCondition(w.tag().Status.Conditions, kind); found != nil {
		return *found
	}
	return metav1.Condition{}
}

func TestMirroring_ListedBeforeTheCopy(t *testing.T) {
	w := newWorld(t, cached())
	image := v1.MirroredImage{ImageReference: mirrorImage}
	w.registry.err = &inProgress{Image: image}
	w.reconcile()
	tag := w.tag()
	if !slices.Contains(tag.Finalizers, v1.FinalizerMirror) || !tag.Mirrors(image) || tag.NotReadyReason() != v1.ReasonMirroring || tag.Status.LastImportAttempt != nil {
		t.Errorf("finalizers %v, status %+v", tag.Finalizers, tag.Status)
	}
	w.registry.err = &inProgress{Image: image, IsNew: true, Waits: true}
	if wait := w.reconcile().RequeueAfter; wait != 5*time.Second || w.registry.imports != 2 {
		t.Errorf("it comes back in %s after %d imports", wait, w.registry.imports)
	}
	if said := strings.Join(w.said(), "\n"); !strings.Contains(said, "Normal Mirroring generation 0 of quay.io/company/myapp:latest is copied to "+mirrorImage) {
		t.Errorf("it says %q", said)
	}
}

// TestMirroring_UnwrittenEndIsGivenAgain: a copy may end before the cache shows that it began.
func TestMirroring_UnwrittenEndIsGivenAgain(t *testing.T) {
	w := newWorld(t, cached())
	w.registry.err = &inProgress{Image: v1.MirroredImage{ImageReference: mirrorImage}}
	w.reconcile()
	w.freezeCache()
	w.changeStatus(func(tag *v1.Tag) { tag.MarkMirroring("mirroring, 1 of 2 blobs", metav1.NewTime(w.clock.Now())) })
	w.queue.settled.Store(0)

	w.registry.err = limited{errors.New("asks to wait")}
	if wait := w.reconcile().RequeueAfter; w.queue.settled.Load() != 0 || wait <= 0 || wait > time.Second {
		t.Errorf("it comes back in %s, and the result counted %d times", wait, w.queue.settled.Load())
	}
	w.cached = nil
	w.reconcile()
	if tag := w.tag(); w.queue.settled.Load() != 1 || tag.NotReadyReason() != v1.ReasonRateLimited || tag.Status.LastImportAttempt == nil {
		t.Errorf("the result counted %d times, and the status is %+v", w.queue.settled.Load(), tag.Status)
	}
	if said := strings.Join(w.said(), "\n"); strings.Count(said, "ImportFailed") != 1 {
		t.Errorf("it says %q", said)
	}
}

func TestProgressIsWrittenEveryFiveSeconds(t *testing.T) {
	w := newWorld(t, cached())
	w.registry.err = &inProgress{Image: v1.MirroredImage{ImageReference: mirrorImage}}
	w.reconcile()
	progress := func(done int) {
		w.registry.err = &inProgress{Image: v1.MirroredImage{ImageReference: mirrorImage}, Progress: transfer.Progress{Blobs: 10, BlobsDone: done}}
		w.reconcile()
	}
	progress(1)
	for range 4 {
		w.pass(time.Second)
		progress(2)
	}
	if got := w.condition(v1.ConditionReady).Message; got != "mirroring, 1 of 10 blobs, 0 of 0 MiB" {
		t.Errorf("it says %q within 5 s", got)
	}
	w.pass(time.Second)
	progress(3)
	if got := w.condition(v1.ConditionReady).Message; got != "mirroring, 3 of 10 blobs, 0 of 0 MiB" {
		t.Errorf("it says %q after 5 s", got)
	}
	w.registry.err, w.registry.copied = nil, copyResult(transfer.CopyResult{Uploaded: 5, Skipped: 6, Mounted: 7}, importer.CopyResult{Took: 1500 * time.Millisecond})
	w.pass(5 * time.Second)
	w.said()
	w.reconcile()
	if said := strings.Join(w.said(), "\n"); !strings.Contains(said, "5 bytes sent, 6 found there, 7 mounted, in 1.5 s") || !w.tag().IsReady() {
		t.Errorf("it says %q; the status is %+v", said, w.tag().Status)
	}
}

func TestMirroring_GenerationInUseStays(t *testing.T) {
	w := newWorld(t, cached(0))
	w.change(func(tag *v1.Tag) { tag.Spec.Generation = new(int64(1)) })
	before := w.tag()
	w.registry.err = &inProgress{Image: v1.MirroredImage{Generation: 1, ImageReference: oldMirrorImage}}
	w.reconcile()
	after := w.tag()
	if *after.Status.Generation != 0 || after.Status.Digest != before.Status.Digest || !after.Status.LastImportAttempt.Succeed || len(after.Status.Mirrored) != 2 {
		t.Errorf("the status is %+v", after.Status)
	}
	w.change(func(tag *v1.Tag) { tag.Spec.Generation = new(int64(0)) })
	w.reconcile()
	if !w.tag().IsReady() {
		t.Errorf("a user went back, and the status is %+v", w.tag().Status)
	}
	w.reconcile()
	if !slices.Equal(w.mirror.removed, []string{"1 false"}) || len(w.tag().Status.Mirrored) != 1 {
		t.Errorf("taken away are %v, left %v", w.mirror.removed, w.tag().Status.Mirrored)
	}
}

func TestAnImportBesideLeavesTheTagReady(t *testing.T) {
	tag := cached(0, 1)
	tag.Select(0, metav1.Now())
	tag.Spec.Generation = new(int64(0))
	w := newWorld(t, tag)
	w.request("1")
	w.registry.onImport = &inProgress{Image: v1.MirroredImage{Generation: 2, ImageReference: mirrorImage}}
	w.registry.digest = "sha256:cc"
	w.reconcile()
	if got := w.tag(); !got.IsReady() || len(got.Status.Mirrored) != 3 || w.registry.imports != 1 {
		t.Errorf("after %d imports the status is %+v", w.registry.imports, got.Status)
	}
}

func TestTheEndOfACopyIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, cached())
	image := v1.MirroredImage{ImageReference: mirrorImage}
	w.registry.err = &inProgress{Image: image}
	w.reconcile()
	w.reconcile()
	w.registry.err = nil
	w.reconcile()
	if w.tag().IsReady() {
		t.Error("it was asked for within 5 s")
	}
	w.queue.isIdle.Store(true)
	w.reconcile()
	if !w.tag().IsReady() {
		t.Errorf("the status is %+v", w.tag().Status)
	}
}

func TestVerify_OncePerInterval(t *testing.T) {
	w := newWorld(t, cached(0))
	wait := w.reconcile().RequeueAfter
	if wait <= 0 || wait > time.Hour || w.registry.verifies != 0 {
		t.Fatalf("it is verified in %s, after %d times", wait, w.registry.verifies)
	}
	w.pass(wait)
	w.reconcile()
	if wait = w.reconcile().RequeueAfter; wait != time.Hour || w.registry.verifies != 1 || w.condition(v1.ConditionMirrored).Status != metav1.ConditionTrue {
		t.Errorf("it is verified again in %s, after %d times: %+v", wait, w.registry.verifies, w.condition(v1.ConditionMirrored))
	}
}

func TestVerify_CopiesMissingGeneration(t *testing.T) {
	w := newWorld(t, cached(0))
	w.pass(w.reconcile().RequeueAfter)
	w.registry.verified = &inProgress{Image: v1.MirroredImage{ImageReference: mirrorImage}, IsNew: true}
	w.reconcile()
	if got := w.condition(v1.ConditionMirrored); got.Status == metav1.ConditionFalse {
		t.Errorf("nothing is known yet, and the condition is %+v", got)
	}
	w.registry.verified = &inProgress{Image: v1.MirroredImage{ImageReference: mirrorImage}, Progress: transfer.Progress{Blobs: 2, BlobsDone: 1}}
	w.pass(5 * time.Second)
	w.reconcile()
	if got := w.condition(v1.ConditionMirrored); got.Status != metav1.ConditionFalse || got.Reason != string(v1.ReasonMirroring) || !w.tag().IsReady() {
		t.Errorf("the condition is %+v", got)
	}
	w.registry.verified, w.registry.copied = nil, copyResult(transfer.CopyResult{Uploaded: 1}, importer.CopyResult{Took: time.Second, Restored: true})
	w.pass(5 * time.Second)
	w.reconcile()
	said := strings.Join(w.said(), "\n")
	if got := w.condition(v1.ConditionMirrored); got.Status != metav1.ConditionTrue || !strings.Contains(said, "was missing and is there again") {
		t.Errorf("the condition is %+v, the events are %q", got, said)
	}
}

// TestWhatWasAttachedLaterIsAnEvent, and nothing else changes.
func TestWhatWasAttachedLaterIsAnEvent(t *testing.T) {
	w := newWorld(t, cached(0))
	w.pass(w.reconcile().RequeueAfter)
	w.reconcile() // the condition is known
	w.said()
	w.registry.copied = copyResult(transfer.CopyResult{Uploaded: 7, Attachments: 1}, importer.CopyResult{Took: time.Second})
	w.pass(time.Hour)
	version := w.tag().ResourceVersion
	w.reconcile()
	if said := w.said(); len(said) != 1 || !strings.Contains(said[0], "Normal AttachmentsMirrored what was attached to generation 0 since is in the internal registry: 7 bytes sent") || w.tag().ResourceVersion != version {
		t.Errorf("it says %q", said)
	}
}

// TestVerify_MissingAttachmentsSooner than the next verification, and the condition tells of them.
func TestVerify_MissingAttachmentsSooner(t *testing.T) {
	w := newWorld(t, cached(0))
	w.pass(w.reconcile().RequeueAfter)
	w.registry.copied = copyResult(transfer.CopyResult{Missing: "the registry answered 500"}, importer.CopyResult{Took: time.Second})
	w.reconcile()
	if got := w.condition(v1.ConditionMirrored); got.Status != metav1.ConditionTrue || !strings.HasSuffix(got.Message, "; attachments may be missing: the registry answered 500") {
		t.Errorf("the condition is %+v", got)
	}
	if wait := w.reconcile().RequeueAfter; wait != 10*time.Minute {
		t.Errorf("they are looked for in %s", wait)
	}
	w.pass(10 * time.Minute)
	w.reconcile()
	if wait := w.reconcile().RequeueAfter; wait <= 10*time.Minute || wait > time.Hour {
		t.Errorf("after another try they are looked for in %s", wait)
	}
	w.registry.copied = copyResult(transfer.CopyResult{}, importer.CopyResult{Took: time.Second})
	w.pass(time.Hour)
	w.reconcile()
	if got := w.condition(v1.ConditionMirrored); strings.Contains(got.Message, "attachments") {
		t.Errorf("nothing is missing, and the condition is %+v", got)
	}
}

// TestVerify_RequestDuringCopy: the copy may have looked for them before the image was signed.
func TestVerify_RequestDuringCopy(t *testing.T) {
	tag := controllertest.NewTag()
	tag.Spec.Cache = true
	tag.MarkAdmitted()
	w := newWorld(t, tag)
	image := v1.MirroredImage{Generation: 0, ImageReference: "quay.io/company/myapp@sha256:aa"}
	w.registry.onImport = &inProgress{Image: image, IsNew: true}
	w.reconcile()
	w.change(func(t *v1.Tag) {
		t.Annotations = map[string]string{v1.AnnotationRequestedCheck: "signed now"}
		t.MarkAdmitted()
	})
	w.pass(5 * time.Second)
	w.reconcile()
	w.registry.onImport, w.registry.copied = nil, copyResult(transfer.CopyResult{}, importer.CopyResult{Took: time.Minute})
	w.reconciler.State.JobEnded(controllertest.Name)
	w.pass(5 * time.Second)
	w.reconcile()
	w.reconcile()
	if got := w.tag().Status.LastHandledRequest; got != "signed now" || w.registry.verifies != 1 {
		t.Errorf("the request handled is %q, and there were %d verifications", got, w.registry.verifies)
	}
}

// TestVerify_RequestDuringVerification, which begins after the request.
func TestVerify_RequestDuringVerification(t *testing.T) {
	w := newWorld(t, cached(0))
	w.registry.digest = mirrorImage[len("mirror.test/dev/myapp@"):]
	w.pass(w.reconcile().RequeueAfter)
	began := w.clock.Now()
	w.registry.verified = &inProgress{Image: v1.MirroredImage{ImageReference: mirrorImage}, IsNew: true}
	w.reconcile()
	w.pass(time.Second)
	w.change(func(t *v1.Tag) { t.Annotations[v1.AnnotationRequestedCheck] = "signed now" })
	w.reconcile()
	w.registry.verified, w.registry.copied = nil, copyResult(transfer.CopyResult{}, importer.CopyResult{Began: began, Took: time.Second})
	w.pass(5 * time.Second)
	w.reconcile()
	before := w.registry.verifies
	w.registry.copied.Began = w.clock.Now()
	w.reconcile()
	if wait := w.reconcile().RequeueAfter; w.registry.verifies != before+1 || wait < time.Minute {
		t.Errorf("there were %d more verifications, the next in %s", w.registry.verifies-before, wait)
	}
}

func TestVerify_SourceIsGoneToo(t *testing.T) {
	w := newWorld(t, cached(0))
	w.pass(w.reconcile().RequeueAfter)
	before := w.tag()
	w.registry.verified = notFound{errors.New("there is no such manifest")}
	w.reconcile()
	after := w.tag()
	if got := w.condition(v1.ConditionMirrored); got.Status != metav1.ConditionFalse || got.Reason != string(v1.ReasonNotFound) || !strings.HasSuffix(got.Message, "lost the generation in use, and its source fails: there is no such manifest") {
		t.Errorf("the condition is %+v", got)
	}
	if !after.IsReady() || *after.Status.Generation != 0 || !after.Status.LastImportAttempt.When.Equal(&before.Status.LastImportAttempt.When) {
		t.Errorf("the status is %+v", after.Status)
	}
	w.said()
	version := w.tag().ResourceVersion
	for range 2 { // each time it is tried, and fails
		w.pass(time.Minute)
		w.registry.verified = &inProgress{Image: v1.MirroredImage{ImageReference: mirrorImage}, IsNew: true}
		w.reconcile()
		w.pass(5 * time.Second)
		w.registry.verified = notFound{errors.New("there is no such manifest")}
		w.reconcile()
	}
	if said := w.said(); w.registry.verifies != 5 || len(said) != 0 || w.tag().ResourceVersion != version {
		t.Errorf("after %d times it says %q again: %+v", w.registry.verifies, said, w.condition(v1.ConditionMirrored))
	}
	w.pass(time.Minute)
	w.registry.verified = &inProgress{Image: v1.MirroredImage{ImageReference: mirrorImage}, Progress: transfer.Progress{Blobs: 2, BlobsDone: 1}}
	w.reconcile()
	if got := w.condition(v1.ConditionMirrored); got.Reason != string(v1.ReasonMirroring) {
		t.Errorf("the source is back, and the condition is %+v", got)
	}
}

func TestVerify_AfterRollback(t *testing.T) {
	w := newWorld(t, cached(0, 1))
	w.reconcile()
	w.change(func(tag *v1.Tag) { tag.Spec.Generation = new(int64(0)) })
	w.reconcile() // which moves it
	w.reconcile()
	if w.registry.verifies != 1 || w.condition(v1.ConditionMirrored).Status != metav1.ConditionTrue {
		t.Errorf("it was verified %d times: %+v", w.registry.verifies, w.condition(v1.ConditionMirrored))
	}
}

func TestWhatLeftTheHistoryIsTakenAway(t *testing.T) {
	w := newWorld(t, left())
	w.reconcile()
	if !slices.Equal(w.mirror.removed, []string{"0 false"}) || len(w.tag().Status.Mirrored) != 1 {
		t.Errorf("taken away are %v, left %v", w.mirror.removed, w.tag().Status.Mirrored)
	}
}

func TestPrune_SharedManifestStays(t *testing.T) {
	for _, same := range []string{mirrorImage, strings.Replace(mirrorImage, "mirror.test/", "registry.test:5000/cache/", 1)} {
		tag := left()
		tag.Status.Mirrored[1].ImageReference = same
		w := newWorld(t, tag)
		w.reconcile()
		if !slices.Equal(w.mirror.removed, []string{"0 true"}) {
			t.Errorf("%s: taken away are %v", same, w.mirror.removed)
		}
	}
}

func TestWhatIsUsedOfTheRepositoryIsKept(t *testing.T) {
	const platform = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	w := newWorld(t, left())
	pod := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "mirror.test/dev/myapp@" + platform}, {Image: "mirror.test/dev/other@" + platform[:70] + "d"}}}}
	controllertest.Create(t, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: controllertest.Name.Namespace, Name: "app"}, Spec: appsv1.DeploymentSpec{Template: pod}})
	w.reconcile()
	_, inUse, _ := strings.Cut(mirrorImage, "@")
	if want := []string{inUse, platform}; !slices.Equal(w.mirror.removed, []string{"0 false"}) || !slices.Equal(w.mirror.kept, want) {
		t.Errorf("taken away are %v, kept %v, want %v", w.mirror.removed, w.mirror.kept, want)
	}
}

func TestWhatAnotherTagHasInItsHistoryStays(t *testing.T) {
	for _, namespace := range []string{controllertest.Name.Namespace, "prod"} {
		w := newWorld(t, left())
		other := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other"}, Spec: v1.TagSpec{From: "mirror.test/dev/myapp:0"}}
		other.RecordImport(v1.Reference{From: other.Spec.From, ImageReference: oldMirrorImage, ImportedAt: controllertest.SomeTime})
		controllertest.Create(t, other)
		w.reconcile()
		if stays := len(w.mirror.removed) == 0; stays != (namespace == controllertest.Name.Namespace) {
			t.Errorf("namespace %s: taken away are %v", namespace, w.mirror.removed)
		}
	}
}

func TestWhatPodsMayPullStays(t *testing.T) {
	pod := corev1.PodTemplateSpec{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Image: oldMirrorImage}}}}
	elsewhere := *pod.DeepCopy()
	elsewhere.Spec.InitContainers[0].Image = strings.Replace(oldMirrorImage, "mirror.test/", "registry.test:5000/cache/", 1)
	byTag, byOtherTag := *elsewhere.DeepCopy(), *elsewhere.DeepCopy()
	asVolume := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: oldMirrorImage}}},
	}}}
	byTag.Spec.InitContainers[0].Image = "registry.test:5000/cache/dev/myapp:0"
	byOtherTag.Spec.InitContainers[0].Image = "registry.test:5000/cache/dev/myapp:10"
	here := metav1.ObjectMeta{Namespace: controllertest.Name.Namespace, Name: "app"} // none of them is annotated: a user may have opted out
	some, none := new(int32(1)), new(int32(0))
	ended := func(conditions ...batchv1.JobConditionType) batchv1.JobStatus {
		status := batchv1.JobStatus{StartTime: &controllertest.SomeTime}
		for _, condition := range conditions {
			status.Conditions = append(status.Conditions, batchv1.JobCondition{Type: condition, Status: corev1.ConditionTrue})
		}
		return status
	}
	over, failed := ended(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete), ended(batchv1.JobFailureTarget, batchv1.JobFailed)
	over.CompletionTime = &controllertest.SomeTime
	for what, row := range map[string]struct {
		object client.Object
		stays  bool
	}{
		"a Deployment":                     {&appsv1.Deployment{ObjectMeta: here, Spec: appsv1.DeploymentSpec{Replicas: none, Template: pod}}, true},
		"a StatefulSet":                    {&appsv1.StatefulSet{ObjectMeta: here, Spec: appsv1.StatefulSetSpec{Template: pod}}, true},
		"a DaemonSet":                      {&appsv1.DaemonSet{ObjectMeta: here, Spec: appsv1.DaemonSetSpec{Template: pod}}, true},
		"a CronJob":                        {&batchv1.CronJob{ObjectMeta: here, Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: pod}}}}, true},
		"a ReplicaSet with replicas":       {&appsv1.ReplicaSet{ObjectMeta: here, Spec: appsv1.ReplicaSetSpec{Replicas: some, Template: pod}}, true},
		"a ReplicaSet that is scaled down": {&appsv1.ReplicaSet{ObjectMeta: here, Spec: appsv1.ReplicaSetSpec{Replicas: none, Template: pod}, Status: appsv1.ReplicaSetStatus{Replicas: 1}}, true},
		"a Deployment by another name of the registry": {&appsv1.Deployment{ObjectMeta: here, Spec: appsv1.DeploymentSpec{Template: elsewhere}}, true},
		"a Deployment that names the generation's tag": {&appsv1.Deployment{ObjectMeta: here, Spec: appsv1.DeploymentSpec{Template: byTag}}, true},
		"a Deployment that mounts it as a volume":      {&appsv1.Deployment{ObjectMeta: here, Spec: appsv1.DeploymentSpec{Template: asVolume}}, true},
		"a Deployment of another generation's tag":     {&appsv1.Deployment{ObjectMeta: here, Spec: appsv1.DeploymentSpec{Template: byOtherTag}}, false},
		"a ReplicaSet without replicas":                {&appsv1.ReplicaSet{ObjectMeta: here, Spec: appsv1.ReplicaSetSpec{Replicas: none, Template: pod}}, false},
		"a Job that is not over":                       {&batchv1.Job{ObjectMeta: here, Spec: batchv1.JobSpec{Template: pod}}, true},
		"a Job that is over":                           {&batchv1.Job{ObjectMeta: here, Spec: batchv1.JobSpec{Template: pod}, Status: over}, false},
		"a Job that failed":                            {&batchv1.Job{ObjectMeta: here, Spec: batchv1.JobSpec{Template: pod}, Status: failed}, false},
		"a Deployment of another namespace":            {&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "app"}, Spec: appsv1.DeploymentSpec{Template: pod}}, false},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, left())
			controllertest.Create(t, row.object)
			wait := w.reconcile().RequeueAfter
			if stays := len(w.mirror.removed) == 0; stays != row.stays {
				t.Fatalf("it stays: %v, want %v", stays, row.stays)
			}
			if !row.stays {
				return
			}
			if wait != 2*time.Second {
				t.Errorf("it looks again in %s, want 2s", wait)
			}
			if err := w.live.Delete(t.Context(), row.object, controllertest.Background); err != nil {
				t.Fatal(err)
			}
			w.pass(wait)
			if w.reconcile(); len(w.mirror.removed) != 1 {
				t.Error("it stays when no workload uses it any more")
			}
		})
	}
}

func TestACacheThatIsBehindTakesNothingAway(t *testing.T) {
	w := newWorld(t, left())
	w.freezeCache()
	w.changeStatus(func(tag *v1.Tag) {
		tag.RecordGeneration(v1.Reference{Generation: 0, From: tag.Spec.From, ImageReference: oldMirrorImage, ImportedAt: controllertest.SomeTime})
	})
	w.reconcile()
	if len(w.mirror.removed) != 0 {
		t.Errorf("taken away are %v", w.mirror.removed)
	}
}

func TestPrune_WaitsForCopies(t *testing.T) {
	for name, generation := range map[string]int64{"the next generation": 2, "the generation in use, once more": 1} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, left())
			w.queue.running = []int64{generation}
			if wait := w.reconcile().RequeueAfter; wait != 5*time.Second || len(w.mirror.removed) != 0 {
				t.Errorf("it looks again in %s; taken away are %v", wait, w.mirror.removed)
			}
			w.queue.running = nil
			w.pass(5 * time.Second)
			w.reconcile()
			if len(w.mirror.removed) != 1 {
				t.Errorf("afterwards, taken away are %v", w.mirror.removed)
			}
		})
	}
}

// TestFinalizer_ReplacedAway has kubectl replace with a manifest that names no finalizers.
func TestFinalizer_ReplacedAway(t *testing.T) {
	w := newWorld(t, cached(0))
	w.reconcile()
	w.change(func(tag *v1.Tag) { tag.Finalizers = nil })
	w.reconcile()
	if got := w.tag(); !slices.Contains(got.Finalizers, v1.FinalizerMirror) {
		t.Errorf("in the internal registry are %v, and the finalizers are %v", got.Status.Mirrored, got.Finalizers)
	}
}

func TestPrune_DeletionForbidden(t *testing.T) {
	w := newWorld(t, left())
	w.mirror.err = transfer.ErrDeletionForbidden
	began := w.clock.Now()
	w.reconcile()
	said := strings.Join(w.said(), "\n")
	if tag := w.tag(); !tag.IsReady() || !strings.Contains(said, "Warning DeletionForbidden") || !strings.Contains(said, oldMirrorImage) {
		t.Errorf("the status is %+v, the events are %q", tag.Status, said)
	}
	for tries := 1; ; tries++ {
		if tries > 30 {
			t.Fatal("it never gives up")
		}
		wait := w.reconcile().RequeueAfter
		if len(w.tag().Status.Mirrored) == 1 {
			break
		}
		w.pass(wait)
	}
	if took := w.clock.Now().Sub(began); took < time.Hour || took > 2*time.Hour {
		t.Errorf("it gives up after %s", took)
	}
	if said := w.said(); len(said) != 0 {
		t.Errorf("it says %q again", said)
	}
}

// TestPrune_ImageOfAnotherRegistry has an administrator change CACHE_REGISTRY_ADDRESS: the former registry forbade nothing.
func TestPrune_ImageOfAnotherRegistry(t *testing.T) {
	w := newWorld(t, left())
	w.mirror.err = fmt.Errorf("former: %w", transfer.ErrOtherRegistry)
	w.reconcile()
	said := strings.Join(w.said(), "\n")
	want := "Warning DeletionForbidden these images are not in the internal registry that is configured, so Tagger does not remove them: " + oldMirrorImage
	if !strings.Contains(said, want) || strings.Contains(said, "forbids") {
		t.Errorf("the events are %q, want %q", said, want)
	}
}

// TestPrune_DenialIsConfirmedByTime has a registry that refuses, and fails in between.
func TestPrune_DenialIsConfirmedByTime(t *testing.T) {
	w := newWorld(t, left())
	began := w.clock.Now()
	for try := 0; w.clock.Now().Sub(began) < 3*time.Hour; try++ {
		w.mirror.err = transfer.ErrDeletionForbidden
		if try%2 == 1 {
			w.mirror.err = errors.New("no answer")
		}
		took := w.clock.Now().Sub(began)
		w.pass(w.reconcile().RequeueAfter)
		if stays := len(w.tag().Status.Mirrored) == 2; stays != (took < time.Hour) && (took < time.Hour || took > 2*time.Hour) {
			t.Fatalf("after %s it is remembered: %v", took, stays)
		}
	}
	if said := strings.Join(w.said(), "\n"); strings.Count(said, "DeletionForbidden") != 1 {
		t.Errorf("it says %q", said)
	}
}

// TestARegistryThatIsReadOnlyForAWhile collects its garbage meanwhile, say.
func TestARegistryThatIsReadOnlyForAWhile(t *testing.T) {
	w := newWorld(t, left())
	w.mirror.err = transfer.ErrDeletionForbidden
	for range 8 {
		w.pass(w.reconcile().RequeueAfter)
	}
	w.mirror.err, w.mirror.removed = nil, nil
	w.pass(10 * time.Minute)
	w.reconcile()
	w.reconcile() // one of them verifies
	if left := w.tag().Status.Mirrored; len(left) != 1 || len(w.mirror.removed) != 1 {
		t.Errorf("taken away are %v, left %v", w.mirror.removed, left)
	}
}

func TestWhatCannotBeTakenAwayIsToldOnce(t *testing.T) {
	w := newWorld(t, left())
	w.mirror.err = errors.New("access is refused")
	for range 12 {
		w.pass(w.reconcile().RequeueAfter)
	}
	said := strings.Join(w.said(), "\n")
	if strings.Count(said, "Warning PruneFailed") != 1 || !strings.Contains(said, oldMirrorImage+": access is refused") {
		t.Errorf("it says %q", said)
	}
	if tag := w.tag(); len(tag.Status.Mirrored) != 2 || !tag.IsReady() {
		t.Errorf("the status is %+v", tag.Status)
	}
}

func TestFinalizer_RemovedWithLastImage(t *testing.T) {
	tag := left()
	tag.Spec.Cache = false
	tag.Finalizers = []string{"other.example.com/finalizer", v1.FinalizerMirror}
	tag.RecordImport(v1.Reference{Generation: 2, From: tag.Spec.From, ImageReference: controllertest.NewImage, ImportedAt: controllertest.SomeTime})
	tag.Spec.Generation, tag.Spec.HistoryLimit = new(int64(2)), 1
	tag.MarkAdmitted()
	tag.Trim()
	w := newWorld(t, tag)
	w.reconcile()
	w.reconcile()
	if got := w.tag(); len(w.mirror.removed) != 2 || !slices.Equal(got.Finalizers, tag.Finalizers[:1]) {
		t.Errorf("after %v the finalizers are %v", w.mirror.removed, got.Finalizers)
	}
}

// deleted is a world whose Tag a user deletes.
func deleted(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, cached(0, 1))
	if err := w.live.Delete(t.Context(), w.tag()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) isGone() bool {
	w.t.Helper()
	var tag v1.Tag
	err := w.live.Get(w.t.Context(), controllertest.Name, &tag)
	if err != nil && !apierrors.IsNotFound(err) {
		w.t.Fatal(err)
	}
	return err != nil
}

func TestADeletedTagTakesAwayAllThatItHas(t *testing.T) {
	w := deleted(t)
	w.queue.running = []int64{0}
	w.reconcile()
	if len(w.mirror.removed) != 0 || w.isGone() {
		t.Fatal("what is copied still may arrive after all is taken away")
	}
	w.queue.running = nil
	w.reconcile()
	if !slices.Equal(w.mirror.removed, []string{"1 false", "0 false"}) || !w.isGone() || len(w.said()) != 0 {
		t.Errorf("taken away are %v; it is gone: %v", w.mirror.removed, w.isGone())
	}
}

func TestFinalize_GivesUp(t *testing.T) {
	w := deleted(t)
	w.mirror.err = notFound{errors.New("no answer")}
	var waited time.Duration
	for range 5 {
		if w.isGone() {
			t.Fatal("it is gone too early")
		}
		wait := w.reconcile().RequeueAfter
		w.reconcile() // whatever happens to it meanwhile is no try
		waited += wait
		w.pass(wait)
	}
	said := strings.Join(w.said(), "\n")
	if !w.isGone() || waited != 30*time.Second || len(w.mirror.removed) != 10 || !strings.Contains(said, "Warning PruneIncomplete") || !strings.Contains(said, mirrorImage+": no answer") {
		t.Errorf("gone: %v after %s and %d requests; the events are %q", w.isGone(), waited, len(w.mirror.removed), said)
	}
}

// TestPrune_DeferredWhileProbed, and that it was not one's turn is no failure.
func TestPrune_DeferredWhileProbed(t *testing.T) {
	for what, start := range map[string]func() *world{
		"a Tag that is deleted":              func() *world { return deleted(t) },
		"a generation that left the history": func() *world { return newWorld(t, left()) },
	} {
		w := start()
		w.mirror.err = later{errors.New("others try")}
		for range 20 {
			wait := w.reconcile().RequeueAfter
			if wait != 5*time.Second {
				t.Fatalf("%s: it is looked at again in %s", what, wait)
			}
			w.pass(wait)
		}
		w.mirror.err = nil
		before := len(w.mirror.removed)
		w.reconcile()
		if got, said := len(w.mirror.removed)-before, w.said(); got == 0 || len(said) > 0 {
			t.Errorf("%s: %d are taken away then, and it says %q", what, got, said)
		}
	}
}

func TestATimeThatIsOverIsSaidInWords(t *testing.T) {
	w := deleted(t)
	w.mirror.err = fmt.Errorf("asking: %w", context.DeadlineExceeded)
	for range 5 {
		w.pass(w.reconcile().RequeueAfter)
	}
	if said := strings.Join(w.said(), "\n"); !w.isGone() || !strings.Contains(said, mirrorImage+": it is not done within 20s") {
		t.Errorf("it says %q", said)
	}
}

// TestADeletedTagThatGetsOnIsNotGivenUp has an internal registry that is slow: of ten images it takes one away in each try.
func TestADeletedTagThatGetsOnIsNotGivenUp(t *testing.T) {
	tag := controllertest.NewTag()
	for generation := range int64(10) {
		tag.RecordMirroring(v1.MirroredImage{Generation: generation, ImageReference: fmt.Sprintf("%s%d", mirrorImage[:len(mirrorImage)-1], generation)})
	}
	tag.Finalizers = []string{v1.FinalizerMirror}
	w := newWorld(t, tag)
	if err := w.live.Delete(t.Context(), w.tag()); err != nil {
		t.Fatal(err)
	}
	for tries := 0; !w.isGone(); tries++ {
		if tries > 20 {
			t.Fatalf("there still are %v", w.tag().Status.Mirrored)
		}
		w.mirror.left = new(1)
		w.pass(w.reconcile().RequeueAfter)
	}
	if said := w.said(); len(said) != 0 {
		t.Errorf("it says %q", said)
	}
}

func TestWhatRunsStaysWhenItsTagIsDeleted(t *testing.T) {
	w := deleted(t)
	controllertest.Create(t, controllertest.PinnedAt(mirrorImage))
	for range 5 {
		w.pass(w.reconcile().RequeueAfter)
	}
	if said := strings.Join(w.said(), "\n"); !w.isGone() || len(w.mirror.removed) != 0 || !strings.Contains(said, "which Deployment app uses") {
		t.Errorf("gone: %v; taken away are %v, the events are %q", w.isGone(), w.mirror.removed, said)
	}
}
