package registry_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// countingUploads has the guard count uploads, and find those invalid that the function chooses.
func countingUploads(count *atomic.Int32, isRefused func(*http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") {
				count.Add(1)
				if isRefused(r) {
					_, _ = io.Copy(io.Discard, r.Body)
					refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "it has another digest")
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

func TestWhetherAMirrorComparesIsAskedOnceAndForLargeBlobsOnly(t *testing.T) {
	var uploads atomic.Int32
	s := newStage(t, newPlainUpstream(t), newPlainGuarded(t, countingUploads(&uploads, func(*http.Request) bool { return false })))
	for i, row := range []struct {
		size    int64
		uploads int32
	}{{size: 1 << 20, uploads: 2}, {size: 8 << 20, uploads: 5}, {size: 8 << 20, uploads: 7}} {
		digest := s.source.pushImage(t, "team/app", "latest", image(t, 1, row.size))
		s.copied(s.order(digest))
		s.isWhole("cache/shop/app", "0", digest)
		if got := uploads.Load(); got != row.uploads {
			t.Errorf("after image %d of a config and a layer: %d uploads, want %d", i, got, row.uploads)
		}
	}
}

func TestWhatAMirrorFindsInvalidIsComparedAndSentOnceMore(t *testing.T) {
	var uploads, refusals atomic.Int32
	s := newStage(t, newPlainUpstream(t), newPlainGuarded(t, countingUploads(&uploads, func(r *http.Request) bool {
		return r.ContentLength >= 8<<20 && refusals.Add(1) == 1
	})))
	digest := s.source.pushImage(t, "team/app", "latest", image(t, 1, 8<<20))
	copied := s.copied(s.order(digest))
	s.isWhole("cache/shop/app", "0", digest)
	if uploads.Load() != 4 || copied.Sent < 8<<20 || copied.Sent > 9<<20 {
		t.Errorf("%d uploads, want 4 with the one that asks and the one that is refused; %+v", uploads.Load(), copied)
	}
}

func TestAMirrorThatDoesNotSayWhetherItComparesIsNotAskedBeforeEachBlob(t *testing.T) {
	var asked, uploads atomic.Int32
	silent := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") {
				uploads.Add(1)
				content, err := io.ReadAll(r.Body)
				if err == nil && strings.HasPrefix(string(content[:min(len(content), 10)]), "Tagger") {
					asked.Add(1)
					refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "no")
					return
				}
				r.Body = io.NopCloser(bytes.NewReader(content))
			}
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t, newPlainUpstream(t), newPlainGuarded(t, silent))
	digest := s.source.pushImage(t, "team/app", "latest", image(t, 3, 8<<20))
	s.copied(s.order(digest))
	s.isWhole("cache/shop/app", "0", digest)
	if asked.Load() != 1 || uploads.Load() != 5 {
		t.Errorf("it was asked %d times, in %d uploads", asked.Load(), uploads.Load())
	}
}
