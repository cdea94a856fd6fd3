package registry_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registrytest"
	"github.com/images-io/tagger/internal/registry/throttle"
)

// blobsOnly has the guard answer what is about blobs; the rest is as it is.
func blobsOnly(answer func(next http.Handler, w http.ResponseWriter, r *http.Request)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				answer(next, w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// cutting is an answer that ends after so many bytes, with its connection.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(content []byte) (int, error) {
	if len(content) > c.left {
		_, _ = c.ResponseWriter.Write(content[:c.left])
		panic(http.ErrAbortHandler)
	}
	c.left -= len(content)
	return c.ResponseWriter.Write(content)
}

// changing is an answer whose bytes are others.
type changing struct{ http.ResponseWriter }

func (c changing) Write(content []byte) (int, error) {
	changed := append([]byte(nil), content...)
	changed[len(changed)-1] ^= 1
	return c.ResponseWriter.Write(changed)
}

// stalled waits until the other side has gone.
func stalled(r *http.Request) { <-r.Context().Done() }

func waitingBriefly(options *registry.Options) {
	waiting(2*time.Second, 300*time.Millisecond, 300*time.Millisecond)(options)
	options.Timeouts.Store = 300 * time.Millisecond
}

// atLength is a refusal that is larger than the blob that was asked for.
func atLength(status int, code string) func(http.Handler, http.ResponseWriter, *http.Request) {
	return func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		registrytest.Refuse(w, status, code, strings.Repeat("no", 4<<10))
	}
}

// blobFaults are what a source may do with a blob, and what comes of it.
func blobFaults() []blobFault {
	return []blobFault{
		{name: "it is gone", reason: v1.ReasonNotFound, answer: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			registrytest.Refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
		}},
		{name: "it is refused", reason: v1.ReasonUnauthorized, answer: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			registrytest.Refuse(w, http.StatusForbidden, "DENIED", "no")
		}},
		{name: "the registry is broken", reason: v1.ReasonUnavailable, answer: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
		}},
		{name: "the registry asks to wait", reason: v1.ReasonRateLimited, answer: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusTooManyRequests)
		}},
		{name: "it is refused at length", size: 1, reason: v1.ReasonUnauthorized, answer: atLength(http.StatusForbidden, "DENIED")},
		{name: "the registry is broken, and says so at length", size: 1, reason: v1.ReasonUnavailable, answer: atLength(http.StatusBadGateway, "UNKNOWN")},
		{name: "the registry asks to wait, at length", size: 1, reason: v1.ReasonRateLimited, answer: atLength(http.StatusTooManyRequests, "TOOMANYREQUESTS")},
		{name: "it is cut off", reason: v1.ReasonUnavailable, text: "the connection failed", answer: func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&cutting{ResponseWriter: w, left: 100}, r)
		}},
		{name: "it has other bytes", reason: v1.ReasonInvalidContent, text: "does not have the digest", answer: func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(changing{w}, r)
		}},
		{name: "it is announced as larger", reason: v1.ReasonInvalidContent, text: "does not have the size", answer: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1<<40))
			_, _ = w.Write(make([]byte, 1<<16))
		}},
		{name: "it does not end", reason: v1.ReasonInvalidContent, text: "does not have the", answer: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			for zeros := make([]byte, 32<<10); ; {
				if _, err := w.Write(zeros); err != nil {
					return
				}
			}
		}},
		{name: "it ends early", reason: v1.ReasonInvalidContent, text: "does not have the size", answer: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "short")
		}},
		{name: "it stalls", reason: v1.ReasonUnavailable, text: "stopped in the middle", answer: func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			stalled(r)
		}},
		{name: "it is not answered", reason: v1.ReasonUnavailable, text: "does not answer in time", answer: func(_ http.Handler, _ http.ResponseWriter, r *http.Request) {
			stalled(r)
		}},
		{name: "it redirects to metadata", reason: v1.ReasonRefusedByPolicy, answer: func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
		}},
	}
}

type blobFault struct {
	name string
	// size is that of the layer, in bytes; 0 means 64 KiB.
	size   int64
	reason v1.Reason
	text   string
	answer func(next http.Handler, w http.ResponseWriter, r *http.Request)
}

func TestAFaultOfTheSourceIsItsOwn(t *testing.T) {
	for _, row := range blobFaults() {
		t.Run(row.name, func(t *testing.T) {
			isItsOwn(t, row, registrytest.NewPlainUpstream(t), cmp.Or(row.size, 1<<16), waitingBriefly)
		})
		if row.reason != v1.ReasonInvalidContent {
			continue
		}
		t.Run(row.name+", in a large blob", func(t *testing.T) { isItsOwn(t, row, registrytest.NewPlainUpstream(t), 8<<20) })
		if row.text == "does not have the digest" { // which the mirror compares
			continue
		}
		t.Run(row.name+", in a large blob, and the mirror takes anything", func(t *testing.T) {
			isItsOwn(t, row, registrytest.NewPlainGuarded(t, takingAnything), 8<<20)
		})
	}
}

// TestAFaultOfAManifestNamesIt, unless it is the image's own, which the text names anyhow.
func TestAFaultOfAManifestNamesIt(t *testing.T) {
	var refused string
	refuses := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/manifests/"+refused) {
				registrytest.Refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t, registrytest.NewPlainGuarded(t, refuses), registrytest.NewPlainUpstream(t))
	child := s.source.PushImage(t, "team/app", "child", registrytest.Image(t, 1, 1<<8))
	s.source.PutManifest(t, "team/app", "inner", ociIndex, sizedIndexOf(t, s.source, "team/app", child))
	inner := s.source.Digest(t, "team/app", "inner")
	s.source.PutManifest(t, "team/app", "latest", ociIndex, sizedIndexOf(t, s.source, "team/app", inner))
	want := s.source.Digest(t, "team/app", "latest")
	for _, row := range []struct{ name, refused, text string }{
		{"a platform", child, "; this is about the manifest " + child},
		{"an index in the index", inner, "; this is about the manifest " + inner},
		{"the image itself", want, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			refused = row.refused
			got := s.refused(s.order(want))
			isNamed := strings.Contains(got.Error(), "; this is about")
			if got.Reason() != v1.ReasonNotFound || !strings.HasSuffix(got.Error(), row.text) || isNamed != (row.text != "") {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
		})
	}
}

// takingAnything makes a registry that does not compare blobs with their digests.
func takingAnything(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") {
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				w.WriteHeader(http.StatusCreated)
			}
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isItsOwn(t *testing.T, row blobFault, mirror *registrytest.Upstream, size int64, change ...func(*registry.Options)) {
	t.Helper()
	s := newStage(t, registrytest.NewPlainGuarded(t, blobsOnly(row.answer)), mirror, change...)
	digest := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, size))
	got := s.refused(s.order(digest))
	if got.Reason() != row.reason || !strings.Contains(got.Error(), row.text) || !isPrintable(got.Error()) {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	if row.reason == v1.ReasonRateLimited && got.RetryAfter() < time.Minute {
		t.Errorf("to be tried again after %s", got.RetryAfter())
	}
	if found := s.holds("cache/shop/app", "0"); found != "" {
		t.Errorf("%s is under the tag", found)
	}
	// The mirror is not blamed: it takes another image at once.
	other := registrytest.NewPlainUpstream(t)
	s = &stage{t: t, source: other, mirror: s.mirror, client: s.client}
	if held, err := s.client.Head(t.Context(), s.order("").Destination, "0"); held != "" || err != nil {
		t.Errorf("the mirror has %q, %v", held, err)
	}
}

// mirrorFaults are what a mirror may do, and what is said of it.
func mirrorFaults() []blobFault {
	answer := func(method string, status int, code string) func(http.Handler, http.ResponseWriter, *http.Request) {
		return func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.Method == method {
				registrytest.Refuse(w, status, code, "no")
				return
			}
			next.ServeHTTP(w, r)
		}
	}
	return []blobFault{
		{name: "it asks for a password", text: "CACHE_REGISTRY_PASSWORD, which count together with CACHE_REGISTRY_ADDRESS only", answer: answer(http.MethodPost, http.StatusUnauthorized, "UNAUTHORIZED")},
		{name: "it denies", text: "it refuses the request, and says why", answer: answer(http.MethodPost, http.StatusForbidden, "DENIED")},
		{name: "it is broken", text: "answered 500", answer: answer(http.MethodPost, http.StatusInternalServerError, "UNKNOWN")},
		{name: "it is full", text: "answered 507", answer: answer(http.MethodPut, http.StatusInsufficientStorage, "UNKNOWN")},
		{name: "it asks to wait", text: "asks to wait", answer: answer(http.MethodPost, http.StatusTooManyRequests, "TOOMANYREQUESTS")},
		{name: "it hangs up in the middle", text: "127.0.0.1", answer: func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				_, _ = io.CopyN(io.Discard, r.Body, 1000)
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		}},
		{name: "it takes nothing", text: "stopped in the middle of what it is sent", answer: func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > 1<<20 {
				_, _, _ = w.(http.Hijacker).Hijack() // and the connection is not read
				return
			}
			next.ServeHTTP(w, r)
		}},
		{name: "it takes everything and says nothing", text: "127.0.0.1", answer: func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				_, _ = io.Copy(io.Discard, r.Body)
				stalled(r)
				return
			}
			next.ServeHTTP(w, r)
		}},
		{name: "it names no place for uploads", text: "does not answer as a registry does", answer: func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
		}},
		{name: "it redirects uploads", text: "answered 307", answer: func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		}},
	}
}

func TestAFaultOfTheMirrorIsMirrorUnavailable(t *testing.T) {
	for _, row := range mirrorFaults() {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, blobsOnly(row.answer)), waitingBriefly)
			digest := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 16<<20))
			got := s.refused(s.order(digest))
			if got.Reason() != v1.ReasonMirrorUnavailable || got.Terminal() || !strings.Contains(got.Error(), row.text) || !isPrintable(got.Error()) {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
			if strings.Contains(got.Error(), "spec.from") || !strings.Contains(got.Error(), "the internal registry") {
				t.Errorf("it is not said of the mirror: %v", got)
			}
			if found := s.holds("cache/shop/app", "0"); found != "" {
				t.Errorf("%s is under the tag", found)
			}
		})
	}
}

func TestCopy_MirrorLosesBlobs(t *testing.T) {
	forgets := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/0") {
				w.WriteHeader(http.StatusCreated)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, forgets))
	got := s.refused(s.order(s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))))
	if got.Reason() != v1.ReasonMirrorUnavailable {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
}

func TestAMirrorThatIsNotThere(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
	digest := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	order := s.order(digest)
	s.mirror.Close()
	for name, ask := range map[string]func() error{
		"copying":   func() error { _, err := s.try(order); return err },
		"asking":    func() error { _, err := s.client.Head(t.Context(), order.Destination, "0"); return err },
		"untagging": func() error { return s.client.Untag(t.Context(), order.Destination, "0") },
	} {
		s.client = newClient(t, nil, insecureHosts(t, s.source)) // one that does not know yet that the mirror is not there
		var got *regerr.Error
		if err := ask(); !errors.As(err, &got) || got.Reason() != v1.ReasonMirrorUnavailable || !strings.Contains(got.Error(), "refuses connections") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCopy_HangingMirror: by which scheme it wants to be asked is found out with the same request.
func TestCopy_HangingMirror(t *testing.T) {
	hangs := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, hangs), waiting(200*time.Millisecond, time.Minute, time.Minute))
	_, err := s.client.Head(t.Context(), s.order("").Destination, "0")
	var got *regerr.Error
	if !errors.As(err, &got) || got.Reason() != v1.ReasonMirrorUnavailable || strings.Contains(got.Error(), "plain HTTP") {
		t.Errorf("got %v", err)
	}
}

// TestCopy_CancelIsNoMirrorFailure: the source fails while much is under way to the mirror, which ends with it.
func TestCopy_CancelIsNoMirrorFailure(t *testing.T) {
	const underWay = 8 // more than failures in a row that have a host left alone
	var offers sync.WaitGroup
	offers.Add(underWay)
	var offered atomic.Int32
	stands := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			number := int32(0)
			if r.Method == http.MethodPost {
				number = offered.Add(1)
			}
			if number <= 1 {
				next.ServeHTTP(w, r)
				return
			}
			if number <= 1+underWay {
				offers.Done()
			}
			<-r.Context().Done()
		})
	}
	fails := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				offers.Wait()
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t, registrytest.NewPlainGuarded(t, fails), registrytest.NewPlainGuarded(t, stands))
	order := s.order(s.source.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, underWay, 1<<10)))
	if got := s.refused(order); got.Reason() != v1.ReasonUnavailable {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	if held, err := s.client.Head(t.Context(), order.Destination, "0"); held != "" || err != nil {
		t.Errorf("the mirror has %q, %v", held, err)
	}
}

// TestWhileOthersTryTheMirror whether it works again, copies wait, and who cannot is told.
func TestWhileOthersTryTheMirror(t *testing.T) {
	clock, failing := newClock(), &failing{retryAfter: "10"}
	failing.status.Store(http.StatusServiceUnavailable)
	asked, release := make(chan struct{}, 10), make(chan struct{})
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, func(next http.Handler) http.Handler {
		return failing.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				asked <- struct{}{}
				<-release
			}
			next.ServeHTTP(w, r)
		}))
	}), at(clock))
	to, absent := s.order("").Destination, digests(1)[0]
	untagNow := func() error { return s.client.Untag(t.Context(), to, "0") }
	var failed *regerr.Error
	if err := untagNow(); !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	failing.status.Store(0)
	pass(clock, 11*time.Second)
	ended := make(chan error, 10)
	go func() { ended <- untagNow() }()
	<-asked
	if err := untagNow(); !throttle.IsThrottled(err) {
		t.Errorf("got %v, want that it is another request's turn", err)
	}
	waiting := []func() error{
		func() error { _, err := s.client.Head(t.Context(), to, "0"); return err },
		func() error { _, err := s.client.ListManifests(t.Context(), to, absent); return err },
		func() error { return s.client.Delete(t.Context(), to, absent) },
	}
	for _, ask := range waiting {
		go func() { ended <- ask() }()
	}
	close(release)
	for range 1 + len(waiting) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestCopy_ContinuesAfterInterruption(t *testing.T) {
	for _, side := range []string{"source", "mirror"} {
		for _, guard := range []func(http.Handler) http.Handler{nil, registrytest.Mounting} {
			var left atomic.Int32
			breaks := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.Contains(r.URL.Path, "/blobs/") && left.Add(-1) < 0 {
						panic(http.ErrAbortHandler)
					}
					next.ServeHTTP(w, r)
				})
			}
			now := clocktesting.NewFakePassiveClock(time.Now())
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, guard), func(o *registry.Options) { o.Clock = now })
			if side == "source" {
				s.source.Config.Handler = breaks(s.source.Config.Handler)
			} else {
				s.mirror.Config.Handler = breaks(s.mirror.Config.Handler)
			}
			want := s.source.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, 5, 1<<10))
			var sent int64
			for tries := int32(1); ; tries++ {
				if tries > 50 {
					t.Fatal("it is never done")
				}
				left.Store(2 + tries)
				now.SetTime(now.Now().Add(time.Hour)) // so that no circuit breaker is open
				done, err := s.try(s.order(want))
				sent += done.Uploaded
				if err == nil {
					break
				}
				if found := s.holds("cache/shop/app", "0"); found != "" {
					t.Fatalf("%s is under the tag", found)
				}
			}
			s.isWhole("cache/shop/app", "0", want)
			left.Store(1000)
			if whole := s.copied(s.order(want)); whole.Uploaded != 0 || whole.Skipped < sent {
				t.Errorf("%d bytes were sent of %d; and once more %+v", sent, whole.Skipped, whole)
			}
		}
	}
}

// TestCopy_TruncatedBodyIsRetried has a proxy on the way that speaks HTTP as it was before there were lengths.
func TestCopy_TruncatedBodyIsRetried(t *testing.T) {
	for _, path := range []string{"/blobs/", "/manifests/"} {
		t.Run(path, func(t *testing.T) {
			var isCut atomic.Bool
			isCut.Store(true)
			closing := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, path) {
						next.ServeHTTP(w, r)
						return
					}
					whole := httptest.NewRecorder()
					next.ServeHTTP(whole, r)
					content := whole.Body.Bytes()
					if isCut.Load() {
						content = content[:len(content)/2]
					}
					connection, buffered, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer connection.Close()
					_, _ = fmt.Fprintf(buffered, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %s\r\n\r\n%s", whole.Header().Get("Content-Type"), content)
					_ = buffered.Flush()
				})
			}
			s := newStage(t, registrytest.NewPlainGuarded(t, closing), registrytest.NewPlainUpstream(t))
			want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<16))
			if got := s.refused(s.order(want)); got.Reason() != v1.ReasonUnavailable || got.Terminal() {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
			isCut.Store(false)
			s.copied(s.order(want))
			s.isWhole("cache/shop/app", "0", want)
		})
	}
}

func TestWhoGivesUpGetsTheirOwnError(t *testing.T) {
	s := newStage(t, registrytest.NewPlainGuarded(t, blobsOnly(func(_ http.Handler, _ http.ResponseWriter, r *http.Request) { stalled(r) })), registrytest.NewPlainUpstream(t))
	digest := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.client.Copy(ctx, s.order(digest)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestCopy_DigestRefusedOnce: the content changed between Tagger and the mirror, which another try cures.
func TestCopy_DigestRefusedOnce(t *testing.T) {
	var refusals atomic.Int32
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") && refusals.Add(1) == 1 {
				_, _ = io.Copy(io.Discard, r.Body)
				registrytest.Refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "it has another digest")
				return
			}
			next.ServeHTTP(w, r)
		})
	}))
	digest := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	s.copied(s.order(digest))
	s.isWhole("cache/shop/app", "0", digest)
}
