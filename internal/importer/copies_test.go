package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

func tagOf(namespace, name string) *v1.Tag {
	return &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name)}, Spec: v1.TagSpec{Cache: true}}
}

// yard is Copies whose copies run until they are told to end, in a bubble with a clock of its own.
type yard struct {
	t *testing.T
	*Copies
	stop  context.CancelFunc
	halts map[string]chan error

	guard   sync.Mutex // the copies run beside each other
	running []string
	move    map[string]func(by int64)
	ends    []string
}

func newYard(t *testing.T, limit int) *yard {
	y := &yard{t: t, Copies: NewCopies(clock.RealClock{}, limit), halts: map[string]chan error{}, move: map[string]func(int64){}}
	y.OnEnd(func(tag types.NamespacedName) { y.guarded(func() { y.ends = append(y.ends, tag.Name) }) })
	ctx, stop := context.WithCancel(t.Context())
	y.stop = stop
	go func() { _ = y.Start(ctx) }()
	return y
}

func (y *yard) guarded(change func()) {
	y.guard.Lock()
	defer y.guard.Unlock()
	change()
}

// order asks for the copy of a generation.
func (y *yard) order(tag *v1.Tag, registry string, generation int64) error {
	return y.orderTo("mirror.test", tag, registry, generation)
}

// orderTo is that, to some internal registry.
func (y *yard) orderTo(address string, tag *v1.Tag, registry string, generation int64) error {
	halt := make(chan error, 1)
	y.halts[tag.Name] = halt
	image, to := v1.MirroredImage{Generation: generation, ImageReference: fmt.Sprint(generation)}, reference.MirrorRepository{Address: address}
	_, err := y.copy(tag, job{image: image, to: to, registry: registry, run: func(ctx context.Context, progress func(Progress)) (Copied, error) {
		bytes := int64(0)
		y.guarded(func() {
			y.running = append(y.running, tag.Name)
			y.move[tag.Name] = func(by int64) { bytes += by; progress(Progress{Blobs: 1, BytesDone: bytes}) }
		})
		defer y.guarded(func() {
			y.running = slices.DeleteFunc(y.running, func(name string) bool { return name == tag.Name })
		})
		select {
		case err := <-halt:
			return Copied{Sent: 1}, err
		case <-ctx.Done():
			return Copied{}, ctx.Err()
		}
	}})
	synctest.Wait()
	y.Settle(keyOf(tag))
	return err
}

// end has a copy end.
func (y *yard) end(name string, err error) {
	y.halts[name] <- err
	synctest.Wait()
}

// runs fails the test unless just these run.
func (y *yard) runs(why string, want ...string) {
	y.t.Helper()
	var got []string
	y.guarded(func() { got = slices.Sorted(slices.Values(y.running)) })
	if slices.Sort(want); !slices.Equal(got, want) {
		y.t.Errorf("%s: %v are copied, want %v", why, got, want)
	}
}

// widen changes the limit.
func (y *yard) widen(limit int) {
	y.mu.Lock()
	y.limit = limit
	y.mu.Unlock()
	y.look()
	synctest.Wait()
}

// pass lets time pass, in which those that are named move.
func (y *yard) pass(time_ time.Duration, moving ...string) { y.passAt(piece, time_, moving...) }

// passAt is that by so many bytes each time.
func (y *yard) passAt(bytes int64, time_ time.Duration, moving ...string) {
	for range time_ / look {
		for _, name := range moving {
			y.move[name](bytes)
		}
		<-time.After(look)
		synctest.Wait()
	}
}

func TestWhatIsOnItsWayIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		one, other := tagOf("dev", "app"), tagOf("dev", "tools")
		_ = y.order(one, "quay.io", 5)
		_ = y.order(other, "quay.io", 3)
		y.runs("one at a time", "app")
		for tag, want := range map[*v1.Tag][]int64{one: {5}, other: {3}, tagOf("dev", "none"): nil} {
			if got := y.Copying(keyOf(tag)); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", tag.Name, got, want)
			}
		}
	})
}

func TestAsManyAreCopiedAsTheLimitSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 2)
		defer y.stop()
		for _, name := range []string{"a", "b", "c"} {
			_ = y.order(tagOf("dev", name), "quay.io", 0)
		}
		y.runs("three were ordered", "a", "b")
		y.end("a", nil)
		y.runs("one ended", "b", "c")
		if !slices.Equal(y.ends, []string{"a"}) {
			t.Errorf("told of the end of %v", y.ends)
		}
	})
}

func TestRegistriesAndNamespacesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		for _, name := range []string{"a1", "a2", "a3"} {
			_ = y.order(tagOf("dev", name), "quay.io", 0)
		}
		_ = y.order(tagOf("dev", "b1"), "ghcr.io", 0)
		y.runs("it came first", "a1")
		y.widen(2)
		y.runs("the other registry", "a1", "b1")
		_ = y.order(tagOf("prod", "a4"), "quay.io", 0)
		y.runs("the other namespace, beside them", "a1", "b1", "a4")
		_ = y.order(tagOf("prod", "a5"), "quay.io", 0)
		y.runs("it has its one", "a1", "b1", "a4")
		y.end("b1", nil)
		y.end("a4", nil)
		y.runs("the namespaces take turns", "a1", "a5")
	})
}

func TestARegistryThatStandsStillHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 4)
		defer y.stop()
		for _, name := range []string{"s1", "s2", "s3", "s4", "s5", "s6"} {
			_ = y.order(tagOf("dev", name), "stalled.test", 0)
		}
		y.runs("there is nobody else", "s1", "s2", "s3", "s4")
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			_ = y.order(tagOf("dev", name), "quay.io", 0)
		}
		y.pass(standsStill + look)
		y.runs("they stand still", "s1", "s2", "s3", "s4", "a", "b", "c", "d")
		y.end("a", nil)
		y.runs("as many move as before", "s1", "s2", "s3", "s4", "b", "c", "d", "e")
		y.end("s1", nil)
		y.pass(standsStill, "b", "c", "d", "e")
		y.runs("no more that will stand still", "s2", "s3", "s4", "b", "c", "d", "e")
	})
}

func TestANamespaceThatStandsStillHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 2)
		defer y.stop()
		for _, name := range []string{"s1", "s2", "s3", "s4", "s5"} {
			_ = y.order(tagOf("dev", name), name+".test", 0)
		}
		y.pass(standsStill + look)
		y.runs("it has all places", "s1", "s2", "s3", "s4")
		_ = y.order(tagOf("prod", "a1"), "quay.io", 0)
		_ = y.order(tagOf("prod", "a2"), "quay.io", 0)
		y.runs("another namespace, beside them", "s1", "s2", "s3", "s4", "a1")
		_ = y.order(tagOf("test", "b1"), "quay.io", 0)
		y.runs("as many others as the limit says", "s1", "s2", "s3", "s4", "a1", "b1")
		_ = y.order(tagOf("stage", "c1"), "quay.io", 0)
		y.runs("and no more", "s1", "s2", "s3", "s4", "a1", "b1")
		y.end("s1", nil)
		y.runs("the others have the place", "s2", "s3", "s4", "a1", "b1")
		y.end("a1", nil)
		y.end("b1", nil)
		y.runs("the namespaces take turns", "s2", "s3", "s4", "a2", "c1")
	})
}

// TestANamespaceThatStandsStillAtARegistryHoldsNobodyUpThere: the registry may serve the others well.
func TestANamespaceThatStandsStillAtARegistryHoldsNobodyUpThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 4)
		defer y.stop()
		for _, name := range []string{"evil-1", "evil-2", "evil-3"} {
			_ = y.order(tagOf("evil", name), "docker.io", 1)
		}
		synctest.Wait()
		y.pass(3 * time.Second)
		for _, namespace := range []string{"a", "b", "c"} {
			_ = y.order(tagOf(namespace, namespace), "docker.io", 1)
		}
		synctest.Wait()
		y.runs("the others have one each", "evil-1", "evil-2", "evil-3", "a", "b", "c")
		y.pass(3 * time.Second)
		_ = y.order(tagOf("d", "d"), "docker.io", 1)
		_ = y.order(tagOf("e", "e"), "quay.io", 1)
		synctest.Wait()
		y.runs("a registry that serves none of them leaves room for others", "evil-1", "evil-2", "evil-3", "a", "b", "c", "e")
	})
}

// TestImportsAreCopiedBeforeWhatIsVerified: users wait for them.
func TestImportsAreCopiedBeforeWhatIsVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		_ = y.order(tagOf("dev", "first"), "quay.io", 1)
		synctest.Wait()
		verified := make(chan struct{})
		_, _ = y.copy(tagOf("dev", "verified"), job{image: v1.MirroredImage{Generation: 1}, registry: "quay.io", verifies: true, run: func(context.Context, func(Progress)) (Copied, error) {
			close(verified)
			return Copied{}, nil
		}})
		_ = y.order(tagOf("dev", "import"), "quay.io", 1)
		y.end("first", nil)
		y.runs("the import came later", "import")
		y.end("import", nil)
		<-verified
	})
}

func TestACopyThatCrawlsMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 2)
		defer y.stop()
		for _, name := range []string{"s1", "s2"} {
			_ = y.order(tagOf("dev", name), "slow.test", 0)
		}
		y.passAt(piece/16, 2*standsStill, "s1", "s2")
		for _, name := range []string{"a", "b", "c"} {
			_ = y.order(tagOf("dev", name), "quay.io", 0)
		}
		y.runs("they crawl", "s1", "s2", "a", "b")
	})
}

func TestACopyThatMovesAgainCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		_ = y.order(tagOf("dev", "a"), "quay.io", 0)
		_ = y.order(tagOf("dev", "b"), "ghcr.io", 0)
		y.pass(4*standsStill, "a")
		y.runs("it moves", "a")
		y.pass(standsStill + look)
		y.runs("it stands still", "a", "b")
	})
}

func TestAResultIsKeptUntilItIsFetchedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, tag := newYard(t, 1), tagOf("dev", "a")
		defer y.stop()
		isUnderWay(t, y.order(tag, "quay.io", 0), true)
		isUnderWay(t, y.order(tag, "quay.io", 0), false)
		y.runs("it was ordered twice", "a")
		y.stop()
		synctest.Wait()
		if err := y.order(tag, "quay.io", 0); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the copy", err)
		}
		if len(y.tags) != 0 {
			t.Errorf("%d Tags are remembered", len(y.tags))
		}
	})
}

func isUnderWay(t *testing.T, err error, begins bool) {
	t.Helper()
	var underWay *UnderWay
	if !errors.As(err, &underWay) || underWay.Begins != begins {
		t.Errorf("got %v, want one that is under way", err)
	}
}

func TestACopyThatIsNotWantedAnyMoreIsCancelled(t *testing.T) {
	newest := func(tag *v1.Tag, generation int64) {
		tag.Spec.Generation = &generation
		tag.RecordImport(v1.Reference{Generation: generation, ImageReference: "before"})
	}
	for name, row := range map[string]struct {
		change func(*v1.Tag)
		stays  bool
	}{
		"the generation wanted":           {func(tag *v1.Tag) { newest(tag, 6); tag.Spec.Generation = new(int64(7)) }, true},
		"the first one":                   {func(tag *v1.Tag) { tag.Spec.Generation = new(int64(7)) }, true},
		"beside one that was rolled back": {func(tag *v1.Tag) { newest(tag, 5); newest(tag, 6); tag.Spec.Generation = new(int64(5)) }, true},
		"one that is in use, again":       {func(tag *v1.Tag) { tag.RecordImport(v1.Reference{Generation: 7, ImageReference: "7"}) }, true},
		"somebody went back":              {func(tag *v1.Tag) { newest(tag, 6) }, false},
		"somebody turned caching off":     {func(tag *v1.Tag) { tag.Spec.Generation = new(int64(7)); tag.Spec.Cache = false }, false},
		"another Tag of that name":        {func(tag *v1.Tag) { tag.Spec.Generation = new(int64(7)); tag.UID = "other" }, false},
		"it was imported otherwise":       {func(tag *v1.Tag) { newest(tag, 7) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				y, tag := newYard(t, 1), tagOf("dev", "a")
				defer y.stop()
				_ = y.order(tag, "quay.io", 7)
				row.change(tag)
				y.Release(tag)
				synctest.Wait()
				if stays := len(y.running) == 1; stays != row.stays {
					t.Errorf("it is copied still: %v, want %v", stays, row.stays)
				}
			})
		})
	}
}

// TestACopyToWhereWeDoNotWriteAnyMoreDoesNotCount: nodes may read from the same address as before.
func TestACopyToWhereWeDoNotWriteAnyMoreDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, tag := newYard(t, 4), tagOf("dev", "a")
		defer y.stop()
		_ = y.orderTo("former.test", tag, "quay.io", 7)
		y.end("a", nil)
		isUnderWay(t, y.orderTo("mirror.test", tag, "quay.io", 7), true)
		y.runs("it is copied to where we write now", "a")
		y.end("a", nil)
		if err := y.orderTo("mirror.test", tag, "quay.io", 7); err != nil {
			t.Error(err)
		}
	})
}

func TestAnotherImageTakesThePlaceOnlyWhenTheFormerCopyHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, tag := newYard(t, 4), tagOf("dev", "a")
		defer y.stop()
		slow := make(chan struct{})
		_, _ = y.copy(tag, job{image: v1.MirroredImage{Generation: 1}, registry: "quay.io", run: func(context.Context, func(Progress)) (Copied, error) {
			<-slow // whatever its context says
			return Copied{}, nil
		}})
		synctest.Wait()
		isUnderWay(t, y.order(tag, "quay.io", 2), true)
		y.runs("the former one may still write the tag")
		if y.Forget(keyOf(tag)) {
			t.Error("all has ended, it says")
		}
		isUnderWay(t, y.order(tag, "quay.io", 2), true)
		close(slow)
		synctest.Wait()
		y.runs("it has ended", "a")
		y.end("a", nil)
		if !y.Forget(keyOf(tag)) {
			t.Error("something is still copied, it says")
		}
	})
}
