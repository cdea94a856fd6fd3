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
	"github.com/images-io/tagger/internal/reference"
)

const mirroredImage = "mirror.test/dev/myapp@" + digest

// mirror is an internal registry that notes what is copied, and holds what it is told.
type mirror struct {
	at       string
	problem  error
	held     map[string]string // by tag or digest
	attached error             // of copying attachments
	copied   chan importer.Order
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

func (m *mirror) Copy(_ context.Context, order importer.Order) (importer.Copied, error) {
	m.copied <- order
	return importer.Copied{Sent: 7}, m.result
}

func (m *mirror) Holds(_ context.Context, _ reference.MirrorRepository, identifier string) (string, error) {
	return m.held[identifier], nil
}

func (m *mirror) CopyAttachments(_ context.Context, order importer.Order) (importer.Copied, error) {
	order.Progress(importer.Progress{Blobs: 3, BlobsDone: 1})
	return importer.Copied{Sent: 3}, m.attached
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
		mirror:   &mirror{at: "mirror.test", held: map[string]string{}, copied: make(chan importer.Order, 10)},
		registry: &registry{}, ended: make(chan types.NamespacedName, 10),
	}
	copies := importer.NewCopies(clock.RealClock{}, 4)
	copies.OnEnd(func(tag types.NamespacedName) { w.ended <- tag })
	w.Importer = &importer.Importer{Registry: w.registry, Secrets: secrets(), Mirror: w.mirror, Copies: copies}
	go func() { _ = copies.Start(t.Context()) }()
	return w
}

// await waits for the end of a copy.
func (w *world) await(t *testing.T) {
	t.Helper()
	select {
	case <-w.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("no copy ended")
	}
}

func cachedTag() *v1.Tag {
	tag := tagFrom("quay.io/company/myapp")
	tag.UID, tag.Spec.Cache = "uid", true
	return tag
}

var terms = importer.Terms{Question: "1", Generation: 3}

// underWay imports, and wants it to take longer.
func (w *world) underWay(t *testing.T, tag *v1.Tag) *importer.UnderWay {
	t.Helper()
	_, err := w.Import(t.Context(), tag, terms)
	var underWay *importer.UnderWay
	if !errors.As(err, &underWay) {
		t.Fatalf("got %v, want a copy that is under way", err)
	}
	return underWay
}

func TestACachedImageIsRememberedThenCopiedThenImported(t *testing.T) {
	w, tag := newWorld(t), cachedTag()
	first := w.underWay(t, tag)
	if first.Begins || first.Image != (v1.MirroredImage{Generation: 3, ImageReference: mirroredImage}) {
		t.Errorf("got %+v, want what is to be remembered", first)
	}
	tag.RecordMirroring(first.Image)
	if second := w.underWay(t, tag); !second.Begins {
		t.Errorf("got %+v, want the begin of a copy", second)
	}
	w.await(t)
	order := <-w.mirror.copied
	if order.Digest != digest || order.Generation != 3 || order.To.Path != "dev/myapp" || order.Source.Repository() != "quay.io/company/myapp" || order.Secrets == nil || order.Namespace != "dev" {
		t.Errorf("copied was %+v", order)
	}
	image, err := w.Import(t.Context(), tag, terms)
	if err != nil || image.Reference != mirroredImage || image.Digest != digest || image.Copied.Sent != 7 || image.Copied.Took <= 0 {
		t.Errorf("got %+v, %v", image, err)
	}
	if len(w.registry.asked) != 1 {
		t.Errorf("the source was asked for %v, want once", w.registry.asked)
	}
}

func TestAGenerationThatIsThereAlreadyIsNotCopied(t *testing.T) {
	w, tag := newWorld(t), cachedTag()
	w.mirror.held["3"] = digest
	tag.RecordMirroring(v1.MirroredImage{Generation: 3, ImageReference: mirroredImage})
	w.underWay(t, tag)
	w.await(t)
	if image, err := w.Import(t.Context(), tag, terms); err != nil || image.Reference != mirroredImage || len(w.mirror.copied) != 0 {
		t.Errorf("got %+v, %v after %d copies", image, err, len(w.mirror.copied))
	}
}

func TestAnotherTryCopiesTheSameImageUnlessTheSourceDoesNotHaveIt(t *testing.T) {
	for reason, want := range map[v1.Reason]int{v1.ReasonMirrorUnavailable: 1, v1.ReasonUnavailable: 1, v1.ReasonNotFound: 2, v1.ReasonInvalidContent: 2} {
		t.Run(string(reason), func(t *testing.T) {
			w, tag := newWorld(t), cachedTag()
			tag.RecordMirroring(v1.MirroredImage{Generation: 3, ImageReference: mirroredImage})
			w.mirror.result = failure{errors.New("no"), reason}
			w.underWay(t, tag)
			w.await(t)
			_, err := w.Import(t.Context(), tag, terms)
			var failed importer.Failure
			if !errors.As(err, &failed) || failed.Reason() != reason {
				t.Fatalf("got %v, want %s", err, reason)
			}
			if _, again := w.Import(t.Context(), tag, terms); again == nil || again.Error() != err.Error() {
				t.Errorf("what was not written down is told as %v, want %v once more", again, err)
			}
			w.Copies.Settle(client.ObjectKeyFromObject(tag))
			if again := w.underWay(t, tag); !again.Begins || len(w.registry.asked) != want {
				t.Errorf("got %+v after asking for %v, want %d questions", again, w.registry.asked, want)
			}
			w.await(t)
		})
	}
}

func TestWithoutAnInternalRegistryTheSourceIsNotAsked(t *testing.T) {
	w := newWorld(t)
	w.mirror.problem = failure{errors.New("set CACHE_REGISTRY_ADDRESS"), v1.ReasonMirrorNotConfigured}
	_, err := w.Import(t.Context(), cachedTag(), terms)
	var failed importer.Failure
	if !errors.As(err, &failed) || failed.Reason() != v1.ReasonMirrorNotConfigured || len(w.registry.asked) != 0 {
		t.Errorf("got %v after asking for %v", err, w.registry.asked)
	}
}

// verifies waits until a verification has a result.
func (w *world) verifies(t *testing.T, tag *v1.Tag, ref *v1.Reference) {
	t.Helper()
	var underWay *importer.UnderWay
	if _, err := w.Verify(tag, ref); !errors.As(err, &underWay) || underWay.Progress.Blobs != 0 {
		t.Fatalf("got %v, want that it is under way", err)
	}
	w.await(t)
}

func TestAGenerationInUseThatVanishedIsCopiedAgainFromItsOwnSource(t *testing.T) {
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
	if copied, err := w.Verify(tag, ref); err != nil || copied.Sent != 7 || !copied.Restored {
		t.Errorf("got %+v, %v of one that is there again", copied, err)
	}
}

func TestAGenerationOfAnotherInternalRegistryCannotBeVerified(t *testing.T) {
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

// TestWhatWasAttachedSinceIsCopied to an image that is there. A source that fails is no failure of the image.
func TestWhatWasAttachedSinceIsCopied(t *testing.T) {
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
			if copied.Sent != 3 || copied.Restored || copied.Missing != row.missing || (err != nil) != row.fails || len(w.mirror.copied) != 0 {
				t.Errorf("got %+v, %v", copied, err)
			}
		})
	}
}

func TestProgressIsReadable(t *testing.T) {
	for want, underWay := range map[string]importer.UnderWay{
		"mirroring, waits for its turn":            {Waits: true},
		"mirroring":                                {},
		"mirroring, 3 of 10 blobs, 120 of 400 MiB": {Progress: importer.Progress{Blobs: 10, BlobsDone: 3, Bytes: 400 << 20, BytesDone: 120 << 20}},
		"mirroring, 0 of 1 blobs, 0 of 0 MiB":      {Progress: importer.Progress{Blobs: 1, Bytes: 512}},
	} {
		if got := underWay.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestAResultThatNobodyAsksForIsNotOnItsWay: a Tag goes back to another generation while the one in use is copied again.
func TestAResultThatNobodyAsksForIsNotOnItsWay(t *testing.T) {
	w, tag := newWorld(t), cachedTag()
	for generation := range int64(2) {
		tag.RecordMirroring(v1.MirroredImage{Generation: generation, ImageReference: mirroredImage})
		tag.RecordImport(v1.Reference{Generation: generation, From: "quay.io/company/myapp", ImageReference: mirroredImage})
	}
	var underWay *importer.UnderWay
	if _, err := w.Verify(tag, tag.Reference(1)); !errors.As(err, &underWay) {
		t.Fatal(err)
	}
	w.Copies.Settle(client.ObjectKeyFromObject(tag))
	tag.Spec.Generation, tag.Status.Generation = new(int64(0)), new(int64(0))
	w.await(t)
	w.Copies.Release(tag)
	w.Copies.Settle(client.ObjectKeyFromObject(tag))
	if got := w.Copies.Copying(client.ObjectKeyFromObject(tag)); len(got) > 0 {
		t.Errorf("%v are on their way after the end", got)
	}
}
