package app

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// review returns a request with an AdmissionReview of that many bytes.
func review(ctx context.Context, size int, query string) *http.Request {
	body := "{" + strings.Repeat(" ", size-2) + "}"
	return httptest.NewRequestWithContext(ctx, http.MethodPost, "/pin-workload"+query, strings.NewReader(body))
}

func TestReviews_WaitAboveTheBound(t *testing.T) {
	for name, row := range map[string]struct {
		query string
		waits time.Duration
	}{
		"the API server's timeout":   {"?timeout=2s", 2 * time.Second},
		"no timeout":                 {"", longestAdmission},
		"a timeout that is too long": {"?timeout=30s", longestAdmission},
		"no duration":                {"?timeout=soon", longestAdmission},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				handler := newReviews().limit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.ContentLength > largeReview {
						<-release
					}
				}))
				for range 2 {
					go handler.ServeHTTP(httptest.NewRecorder(), review(t.Context(), maxReview, ""))
				}
				synctest.Wait()
				start, recorder := time.Now(), httptest.NewRecorder()
				handler.ServeHTTP(recorder, review(t.Context(), 1<<20, row.query))
				if took := time.Since(start); recorder.Code != http.StatusServiceUnavailable || took != row.waits {
					t.Errorf("the response is %d after %s, want 503 after %s", recorder.Code, took, row.waits)
				}
				small := httptest.NewRecorder()
				if handler.ServeHTTP(small, review(t.Context(), 1<<10, row.query)); small.Code != http.StatusOK {
					t.Errorf("the response to a small review is %d, want 200", small.Code)
				}
				close(release)
				again := httptest.NewRecorder()
				if handler.ServeHTTP(again, review(t.Context(), 1<<20, row.query)); again.Code != http.StatusOK {
					t.Errorf("the response afterwards is %d, want 200", again.Code)
				}
			})
		})
	}
}

func TestReviews_RefuseOtherBodies(t *testing.T) {
	handler := newReviews().limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	}))
	unknown := review(t.Context(), maxReview+1, "")
	unknown.ContentLength = -1
	for name, row := range map[string]struct {
		request *http.Request
		code    int
	}{
		"above 7 MiB":                  {review(t.Context(), maxReview+1, ""), http.StatusRequestEntityTooLarge},
		"above 7 MiB without a length": {unknown, http.StatusRequestEntityTooLarge},
		"7 MiB":                        {review(t.Context(), maxReview, ""), http.StatusOK},
		"YAML":                         {httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("- a")), http.StatusBadRequest},
		"nothing":                      {httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody), http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			if handler.ServeHTTP(recorder, row.request); recorder.Code != row.code {
				t.Errorf("the response is %d, want %d", recorder.Code, row.code)
			}
		})
	}
}
