package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/images-io/tagger/internal/transfer"
)

func tagOf(namespace, name string) Owner {
	return Owner{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}, UID: types.UID(name)}
}

// yard is a Queue whose copies run until the test ends them, in a bubble with a clock of its own.
type yard struct {
	t *testing.T
	*Queue
	stop  context.CancelFunc
	halts map[string]chan error

	guard   sync.Mutex // the copies run beside each other
	running []string
	move    map[string]func(by int64)
	ends    []string
}

func newYard(t *testing.T, limit int) *yard {
	y := &yard{t: t, Queue: New(clock.RealClock{}, limit), halts: map[string]chan error{}, move: map[string]func(int64){}}
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

// order submits the copy of a generation, and acknowledges what it gets.
func (y *yard) order(tag Owner, registry string, generation int64) Status {
	return y.orderAs(Copy, "image", tag, registry, generation)
}

// orderAs submits a job of a kind, for some image.
func (y *yard) orderAs(kind Kind, image string, tag Owner, registry string, generation int64) Status {
	halt := make(chan error, 1)
	y.halts[tag.Name] = halt
	status := y.Do(tag, Job{Kind: kind, Key: fmt.Sprint(generation, image), Registry: registry, Generation: generation, Run: func(ctx context.Context, report Report) error {
		bytes := int64(0)
		y.guarded(func() {
			y.running = append(y.running, tag.Name)
			y.move[tag.Name] = func(by int64) { bytes += by; report(transfer.Progress{Blobs: 1, BytesDone: bytes}) }
		})
		defer y.guarded(func() {
			y.running = slices.DeleteFunc(y.running, func(name string) bool { return name == tag.Name })
		})
		select {
		case err := <-halt:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	synctest.Wait()
	y.Ack(tag.NamespacedName)
	return status
}

// end ends a job.
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
	y.fair.limit = limit
	y.mu.Unlock()
	y.wake()
	synctest.Wait()
}

// pass lets time pass, in which those that are named move.
func (y *yard) pass(time_ time.Duration, moving ...string) { y.passAt(progressStep, time_, moving...) }

// passAt is that by so many bytes each time.
func (y *yard) passAt(bytes int64, time_ time.Duration, moving ...string) {
	for range time_ / wakeInterval {
		for _, name := range moving {
			y.move[name](bytes)
		}
		<-time.After(wakeInterval)
		synctest.Wait()
	}
}

func TestCopying_Generations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		one, other := tagOf("dev", "app"), tagOf("dev", "tools")
		_ = y.order(one, "quay.io", 5)
		_ = y.order(other, "quay.io", 3)
		y.runs("one at a time", "app")
		for tag, want := range map[Owner][]int64{one: {5}, other: {3}, tagOf("dev", "none"): nil} {
			if got := y.Copying(tag.NamespacedName); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", tag.Name, got, want)
			}
		}
	})
}

func TestCopies_Limit(t *testing.T) {
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

func TestCopies_RegistriesAndNamespaces(t *testing.T) {
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

func TestCopies_StalledRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 4)
		defer y.stop()
		for _, name := range []string{"s1", "s2", "s3", "s4", "s5", "s6"} {
			_ = y.order(tagOf("dev", name), "stalled.test", 0)
		}
		y.runs("no other namespace waits", "s1", "s2", "s3", "s4")
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			_ = y.order(tagOf("dev", name), "quay.io", 0)
		}
		y.pass(stallThreshold + wakeInterval)
		y.runs("they stand still", "s1", "s2", "s3", "s4", "a", "b", "c", "d")
		y.end("a", nil)
		y.runs("as many move as before", "s1", "s2", "s3", "s4", "b", "c", "d", "e")
		y.end("s1", nil)
		y.pass(stallThreshold, "b", "c", "d", "e")
		y.runs("no more that will stand still", "s2", "s3", "s4", "b", "c", "d", "e")
	})
}

func TestCopies_StalledNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 2)
		defer y.stop()
		for _, name := range []string{"s1", "s2", "s3", "s4", "s5"} {
			_ = y.order(tagOf("dev", name), name+".test", 0)
		}
		y.pass(stallThreshold + wakeInterval)
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

// TestCopies_StalledNamespaceAtRegistry: the registry may serve the others well.
func TestCopies_StalledNamespaceAtRegistry(t *testing.T) {
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

// TestCopies_ImportsBeforeVerifications: users wait for them.
func TestCopies_ImportsBeforeVerifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		_ = y.order(tagOf("dev", "first"), "quay.io", 1)
		synctest.Wait()
		_ = y.orderAs(Verify, "image", tagOf("dev", "verified"), "quay.io", 1)
		_ = y.order(tagOf("dev", "import"), "quay.io", 1)
		y.end("first", nil)
		y.runs("the import came later", "import")
		y.end("import", nil)
		y.runs("and then the verification", "verified")
	})
}

func TestCopies_SlowCopyMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 2)
		defer y.stop()
		for _, name := range []string{"s1", "s2"} {
			_ = y.order(tagOf("dev", name), "slow.test", 0)
		}
		y.passAt(progressStep/16, 2*stallThreshold, "s1", "s2")
		for _, name := range []string{"a", "b", "c"} {
			_ = y.order(tagOf("dev", name), "quay.io", 0)
		}
		y.runs("they crawl", "s1", "s2", "a", "b")
	})
}

func TestCopies_MovingCopyCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		_ = y.order(tagOf("dev", "a"), "quay.io", 0)
		_ = y.order(tagOf("dev", "b"), "ghcr.io", 0)
		y.pass(4*stallThreshold, "a")
		y.runs("it moves", "a")
		y.pass(stallThreshold + wakeInterval)
		y.runs("it stands still", "a", "b")
	})
}

func TestQueue_KeepsResultUntilAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, tag := newYard(t, 1), tagOf("dev", "a")
		defer y.stop()
		isInProgress(t, y.order(tag, "quay.io", 0), true)
		isInProgress(t, y.order(tag, "quay.io", 0), false)
		y.runs("it was submitted twice", "a")
		y.stop()
		synctest.Wait()
		if status := y.order(tag, "quay.io", 0); !status.Done || !errors.Is(status.Err, context.Canceled) {
			t.Errorf("got %+v, want the end of the copy", status)
		}
		if len(y.tags) != 0 {
			t.Errorf("%d Tags are kept", len(y.tags))
		}
	})
}

func isInProgress(t *testing.T, status Status, isNew bool) {
	t.Helper()
	if status.Done || status.IsNew != isNew {
		t.Errorf("got %+v, want one in progress, new: %v", status, isNew)
	}
}

func TestQueue_CancelsWhatIsNotWanted(t *testing.T) {
	for name, row := range map[string]struct {
		uid           types.UID
		wanted, stays bool
	}{
		"it is wanted":             {"a", true, true},
		"it is not":                {"a", false, false},
		"another Tag of that name": {"other", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				y, tag := newYard(t, 1), tagOf("dev", "a")
				defer y.stop()
				_ = y.order(tag, "quay.io", 7)
				tag.UID = row.uid
				y.CancelStale(tag, func(int64, string) bool { return row.wanted })
				synctest.Wait()
				if stays := len(y.running) == 1; stays != row.stays {
					t.Errorf("it runs: %v, want %v", stays, row.stays)
				}
			})
		})
	}
}

func TestQueue_AnotherKeyIsAnotherJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, tag := newYard(t, 4), tagOf("dev", "a")
		defer y.stop()
		_ = y.orderAs(Copy, "former", tag, "quay.io", 7)
		y.end("a", nil)
		isInProgress(t, y.orderAs(Copy, "new", tag, "quay.io", 7), true)
		y.end("a", nil)
		if status := y.orderAs(Copy, "new", tag, "quay.io", 7); !status.Done || status.Err != nil {
			t.Errorf("got %+v", status)
		}
	})
}

func TestQueue_OneCopyOfATagAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, tag := newYard(t, 4), tagOf("dev", "a")
		defer y.stop()
		slow := make(chan struct{})
		y.Do(tag, Job{Kind: Copy, Key: "1", Registry: "quay.io", Generation: 1, Run: func(context.Context, Report) error {
			<-slow // whatever its context says
			return nil
		}})
		synctest.Wait()
		isInProgress(t, y.order(tag, "quay.io", 2), true)
		y.runs("the former one may still write the tag")
		if y.Cancel(tag.NamespacedName) {
			t.Error("Cancel says that all has ended")
		}
		isInProgress(t, y.order(tag, "quay.io", 2), true)
		close(slow)
		synctest.Wait()
		y.runs("it has ended", "a")
		y.end("a", nil)
		if !y.Cancel(tag.NamespacedName) {
			t.Error("Cancel says that a copy runs")
		}
	})
}

func TestQueue_ResultMustBeFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, tag := newYard(t, 1), tagOf("dev", "a")
		defer y.stop()
		runs := 0
		resolve := func(notBefore time.Time) Status {
			status := y.Do(tag, Job{Kind: Resolve, Key: "k", NotBefore: notBefore, Registry: "quay.io", Run: func(context.Context, Report) error { runs++; return nil }})
			synctest.Wait()
			return status
		}
		began := time.Now()
		isInProgress(t, resolve(began), true)
		if status := resolve(began); !status.Done {
			t.Errorf("got %+v", status)
		}
		isInProgress(t, resolve(began.Add(time.Nanosecond)), true)
		if runs != 2 {
			t.Errorf("%d resolves, want 2", runs)
		}
	})
}

// TestQueue_WaitingJobGetsFresher: a result that is fresh enough for the first caller may be too old for the next.
func TestQueue_WaitingJobGetsFresher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, 1)
		defer y.stop()
		y.resolves("dev", "quay.io", tenantResolves)
		began, ran := time.Now(), time.Time{}
		for _, notBefore := range []time.Time{began, began.Add(time.Nanosecond)} {
			y.Do(tagOf("dev", "late"), Job{Kind: Resolve, Key: "k", NotBefore: notBefore, Registry: "quay.io", Run: func(context.Context, Report) error { ran = notBefore; return nil }})
		}
		y.end("dev-quay.io-0", nil)
		if !ran.After(began) {
			t.Error("the job of the first caller ran")
		}
	})
}

// deferredError says that nothing was done.
type deferredError struct{}

func (deferredError) Error() string           { return "throttled" }
func (deferredError) Deferred() time.Duration { return time.Second }

func TestQueue_DeferredJobRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y, tag := newYard(t, 1), tagOf("dev", "a")
		defer y.stop()
		isInProgress(t, y.orderAs(Resolve, "", tag, "quay.io", 0), true)
		y.end("a", deferredError{})
		if status := y.orderAs(Resolve, "", tag, "quay.io", 0); !errors.As(status.Err, new(deferredError)) {
			t.Errorf("got %+v", status)
		}
		isInProgress(t, y.orderAs(Resolve, "", tag, "quay.io", 0), true)
	})
}
