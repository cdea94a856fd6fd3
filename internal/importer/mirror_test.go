package importer_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/transfer"
)

const mirroredImage = "mirror.test/dev/myapp@" + digest

// mirror is an internal registry that notes what is copied, and holds what it is told.
type mirror struct {
	at       string
	problem  error
	held     map[string]string // by tag or digest
	attached error             // of copying attachments
	copied   chan importer.CopyRequest
	result   error
}

type failure struct {
	error
	reason v1.Reason
}

func (f failure) Reason() v1.Reason { return f.reason }

func (m *mirror) Destination() (reference.Mirror, error) {
	if m.problem != nil {
		return reference.Mirror{}, m.problem
	}
	return reference.ParseMirror(m.at, m.at)
}

func (m *mirror) Copy(_ context.Context, order importer.CopyRequest) (transfer.CopyResult, error) {
	m.copied <- order
	return transfer.CopyResult{Uploaded: 7}, m.result
}

func (m *mirror) Head(_ context.Context, _ reference.MirrorRepository, identifier string) (string, error) {
	return m.held[identifier], nil
}

func (m *mirror) CopyAttachments(_ context.Context, order importer.CopyRequest) (transfer.CopyResult, error) {
	order.Report(transfer.Progress{Blobs: 3, BlobsDone: 1})
	return transfer.CopyResult{Uploaded: 3}, m.attached
}

// world is an importer that copies, for as long as the test runs, and says when copies end.
type world struct {
	*importer.Importer
	mirror   *mirror
	registry *registry
	ended    chan types.NamespacedName
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		mirror:   &mirror{at: "mirror.test", held: map[string]string{}, copied: make(chan importer.CopyRequest, 10)},
		registry: &registry{}, ended: make(chan types.NamespacedName, 10),
	}
	queue := jobs.New(clock.RealClock{}, 4)
	queue.OnEnd(func(tag types.NamespacedName) { w.ended <- tag })
	w.Importer = &importer.Importer{Registry: w.registry, Secrets: secrets(), Mirror: w.mirror, Jobs: queue}
	go func() { _ = queue.Start(t.Context()) }()
	return w
}

// await waits for the end of a job.
func (w *world) await(t *testing.T) {
	t.Helper()
	select {
	case <-w.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("no job ended")
	}
}

func cachedTag() *v1.Tag {
	tag := tagFrom("quay.io/company/myapp")
	tag.UID, tag.Spec.Cache = "uid", true
	return tag
}

var options = importer.Options{RequestKey: "1", Generation: 3}

// resolves waits until the digest is known: the image is to be listed in the status, or copied.
func (w *world) resolves(t *testing.T, tag *v1.Tag) importer.Mirroring {
	t.Helper()
	if got, err := w.Import(tag, options); err != nil || got.State != importer.InProgress || got.Mirroring != nil {
		t.Fatalf("got %+v, %v, want a resolve in progress", got, err)
	}
	w.await(t)
	return w.inProgress(t, tag)
}

// inProgress imports, and wants a copy in progress.
func (w *world) inProgress(t *testing.T, tag *v1.Tag) importer.Mirroring {
	t.Helper()
	got, err := w.Import(tag, options)
	if err != nil || got.State != importer.InProgress || got.Mirroring == nil {
		t.Fatalf("got %+v, %v, want a copy in progress", got, err)
	}
	return *got.Mirroring
}

func TestImport_CachedImage(t *testing.T) {
	w, tag := newWorld(t), cachedTag()
	first := w.resolves(t, tag)
	if first.IsNew || first.Image != (v1.MirroredImage{Generation: 3, ImageReference: mirroredImage}) {
		t.Errorf("got %+v, want what is to be remembered", first)
	}
	tag.RecordMirroring(first.Image)
	if second := w.inProgress(t, tag); !second.IsNew {
		t.Errorf("got %+v, want the begin of a copy", second)
	}
	w.await(t)
	order := <-w.mirror.copied
	if order.Digest != digest || order.Generation != 3 || order.Destination.Path != "dev/myapp" || order.Source.Repository() != "quay.io/company/myapp" || order.Secrets == nil || order.Namespace != "dev" {
		t.Errorf("copied was %+v", order)
	}
	image, err := w.Import(tag, options)
	if err != nil || image.Reference != mirroredImage || image.Digest != digest || image.Copy.Uploaded != 7 || image.Copy.Took <= 0 {
		t.Errorf("got %+v, %v", image, err)
	}
	if len(w.registry.asked) != 1 {
		t.Errorf("the source was asked for %v, want once", w.registry.asked)
	}
}

func TestImport_GenerationIsThereAlready(t *testing.T) {
	w, tag := newWorld(t), cachedTag()
	w.mirror.held["3"] = digest
	tag.RecordMirroring(v1.MirroredImage{Generation: 3, ImageReference: mirroredImage})
	w.resolves(t, tag)
	w.await(t)
	if image, err := w.Import(tag, options); err != nil || image.Reference != mirroredImage || len(w.mirror.copied) != 0 {
		t.Errorf("got %+v, %v after %d copies", image, err, len(w.mirror.copied))
	}
}

func TestImport_AnotherTryCopiesSameImage(t *testing.T) {
	for reason, want := range map[v1.Reason]int{v1.ReasonMirrorUnavailable: 1, v1.ReasonUnavailable: 1, v1.ReasonNotFound: 2, v1.ReasonInvalidContent: 2} {
		t.Run(string(reason), func(t *testing.T) {
			w, tag := newWorld(t), cachedTag()
			tag.RecordMirroring(v1.MirroredImage{Generation: 3, ImageReference: mirroredImage})
			w.mirror.result = failure{errors.New("no"), reason}
			w.resolves(t, tag)
			w.await(t)
			_, err := w.Import(tag, options)
			var failed importer.Failure
			if !errors.As(err, &failed) || failed.Reason() != reason {
				t.Fatalf("got %v, want %s", err, reason)
			}
			if _, again := w.Import(tag, options); again == nil || again.Error() != err.Error() {
				t.Errorf("what was not written down is told as %v, want %v once more", again, err)
			}
			w.Jobs.Ack(client.ObjectKeyFromObject(tag))
			again := w.inProgress
			if want > 1 {
				again = w.resolves
			}
			if again := again(t, tag); !again.IsNew || len(w.registry.asked) != want {
				t.Errorf("got %+v after asking for %v, want %d resolves", again, w.registry.asked, want)
			}
			w.await(t)
		})
	}
}

func TestImport_NoInternalRegistry(t *testing.T) {
	w := newWorld(t)
	w.mirror.problem = failure{errors.New("set CACHE_REGISTRY_ADDRESS"), v1.ReasonMirrorNotConfigured}
	_, err := w.Import(cachedTag(), options)
	var failed importer.Failure
	if !errors.As(err, &failed) || failed.Reason() != v1.ReasonMirrorNotConfigured || len(w.registry.asked) != 0 {
		t.Errorf("got %v after asking for %v", err, w.registry.asked)
	}
}

// verifies waits until a verification has a result.
func (w *world) verifies(t *testing.T, tag *v1.Tag, ref *v1.Reference) {
	t.Helper()
	if got, err := w.Verify(tag, ref); err != nil || got.State != importer.InProgress || got.Mirroring.Progress.Blobs != 0 {
		t.Fatalf("got %+v, %v, want that it is in progress", got, err)
	}
	w.await(t)
}

func TestVerify_CopiesMissingGeneration(t *testing.T) {
	w, tag := newWorld(t), cachedTag()
	ref := &v1.Reference{Generation: 3, From: "quay.io/company/former:1", ImageReference: mirroredImage}
	same, another := *ref, *ref
	same.Generation, another.Generation, another.ImageReference = 1, 2, "mirror.test/dev/myapp@"+strings.Repeat("b", 71)
	tag.Status.References = []v1.Reference{*ref, another, same}
	w.mirror.held["3"] = digest // a tag whose manifest is gone proves nothing
	w.verifies(t, tag, ref)
	if order := <-w.mirror.copied; order.Source.Repository() != "quay.io/company/former" || order.Digest != digest || order.Generation != 3 {
		t.Errorf("copied was %+v", order)
	}
	if order := <-w.mirror.copied; order.Digest != digest || order.Generation != 1 || len(w.mirror.copied) != 0 {
		t.Errorf("copied was %+v, want the other generation that is the same image", order)
	}
	if copied, err := w.Verify(tag, ref); err != nil || copied.Copy.Uploaded != 7 || !copied.Copy.Restored {
		t.Errorf("got %+v, %v of one that is there again", copied, err)
	}
}

func TestVerify_OtherInternalRegistry(t *testing.T) {
	w := newWorld(t)
	ref := &v1.Reference{From: "quay.io/company/myapp", ImageReference: "former.test/dev/myapp@" + digest}
	_, err := w.Verify(cachedTag(), ref)
	var failed importer.Failure
	if !errors.As(err, &failed) || failed.Reason() != v1.ReasonMirrorUnavailable {
		t.Fatalf("got %v", err)
	}
	want := ref.ImageReference + ` is not in the internal registry that is configured now, mirror.test/dev/myapp; "kubectl tag import myapp" imports the Tag's image again, into that one`
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// TestVerify_CopiesNewAttachments to an image that is there. A source that fails is no failure of the image.
func TestVerify_CopiesNewAttachments(t *testing.T) {
	for name, row := range map[string]struct {
		attached error
		missing  string
		fails    bool
	}{
		"all is well":      {},
		"the source fails": {attached: failure{errors.New("it is down"), v1.ReasonUnavailable}, missing: "it is down"},
		"the mirror fails": {attached: failure{errors.New("it is down"), v1.ReasonMirrorUnavailable}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, tag := newWorld(t), cachedTag()
			w.mirror.held[digest], w.mirror.attached = digest, row.attached
			ref := &v1.Reference{Generation: 3, From: "quay.io/company/myapp", ImageReference: mirroredImage}
			w.verifies(t, tag, ref)
			copied, err := w.Verify(tag, ref)
			if copied.Copy.Uploaded != 3 || copied.Copy.Restored || copied.Copy.Missing != row.missing || (err != nil) != row.fails || len(w.mirror.copied) != 0 {
				t.Errorf("got %+v, %v", copied, err)
			}
		})
	}
}

func TestMirroring_Text(t *testing.T) {
	for want, mirroring := range map[string]importer.Mirroring{
		"mirroring, waits for other copies":        {Waits: true},
		"mirroring":                                {},
		"mirroring, 3 of 10 blobs, 120 of 400 MiB": {Progress: transfer.Progress{Blobs: 10, BlobsDone: 3, Bytes: 400 << 20, BytesDone: 120 << 20}},
		"mirroring, 0 of 1 blobs, 0 of 0 MiB":      {Progress: transfer.Progress{Blobs: 1, Bytes: 512}},
	} {
		if got := mirroring.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestWants(t *testing.T) {
	newest := func(tag *v1.Tag, generation int64) {
		tag.Spec.Generation = &generation
		tag.RecordImport(v1.Reference{Generation: generation, ImageReference: "before"})
	}
	for name, row := range map[string]struct {
		change func(*v1.Tag)
		wants  bool
	}{
		"the generation wanted":           {func(tag *v1.Tag) { newest(tag, 6); tag.Spec.Generation = new(int64(7)) }, true},
		"the first one":                   {func(tag *v1.Tag) { tag.Spec.Generation = new(int64(7)) }, true},
		"beside one that was rolled back": {func(tag *v1.Tag) { newest(tag, 5); newest(tag, 6); tag.Spec.Generation = new(int64(5)) }, true},
		"one that is in use, again":       {func(tag *v1.Tag) { tag.RecordImport(v1.Reference{Generation: 7, ImageReference: "seven"}) }, true},
		"a user went back":                {func(tag *v1.Tag) { newest(tag, 6) }, false},
		"a user turned caching off":       {func(tag *v1.Tag) { tag.Spec.Generation = new(int64(7)); tag.Spec.Cache = false }, false},
		"it was imported otherwise":       {func(tag *v1.Tag) { newest(tag, 7) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			tag := cachedTag()
			row.change(tag)
			if got := importer.Wants(tag, 7, "7 seven mirror.test/dev/myapp"); got != row.wants {
				t.Errorf("got %v, want %v", got, row.wants)
			}
		})
	}
}

// TestVerify_UnwantedResult: a Tag goes back to another generation while the one in use is copied again.
func TestVerify_UnwantedResult(t *testing.T) {
	w, tag := newWorld(t), cachedTag()
	for generation := range int64(2) {
		tag.RecordMirroring(v1.MirroredImage{Generation: generation, ImageReference: mirroredImage})
		tag.RecordImport(v1.Reference{Generation: generation, From: "quay.io/company/myapp", ImageReference: mirroredImage})
	}
	if got, err := w.Verify(tag, tag.Reference(1)); err != nil || got.State != importer.InProgress {
		t.Fatal(got, err)
	}
	w.Jobs.Ack(client.ObjectKeyFromObject(tag))
	tag.Spec.Generation, tag.Status.Generation = new(int64(0)), new(int64(0))
	w.await(t)
	w.Jobs.CancelStale(jobs.Owner{NamespacedName: client.ObjectKeyFromObject(tag), UID: tag.UID}, func(generation int64, key string) bool {
		return importer.Wants(tag, generation, key)
	})
	w.Jobs.Ack(client.ObjectKeyFromObject(tag))
	if got := w.Jobs.Copying(client.ObjectKeyFromObject(tag)); len(got) > 0 {
		t.Errorf("%v are on their way after the end", got)
	}
}
