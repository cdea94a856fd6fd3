package app

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// longestAdmission bounds a review. It is the timeoutSeconds of config/webhook: the API server does not wait longer.
	longestAdmission = 5 * time.Second
	// maxReview is the largest AdmissionReview in bytes: two objects of 3 MiB, the most that an API server accepts, and 1 MiB.
	maxReview = 7 << 20
	// largeReview is the size in bytes above which reviews share a limit of their own, so that they do not delay smaller ones.
	largeReview = 64 << 10
	// largeReviews and smallReviews bound the bytes of the reviews in progress. Decoding takes up to 25 bytes for each.
	largeReviews, smallReviews = 2 * maxReview, 4 << 20
)

// reviews bounds the bytes of the admission reviews in progress. Reviews above the bound wait until their deadline.
type reviews struct{ large, small *semaphore.Weighted }

func newReviews() *reviews {
	return &reviews{large: semaphore.NewWeighted(largeReviews), small: semaphore.NewWeighted(smallReviews)}
}

// limit returns a handler that passes AdmissionReviews to next within the bounds.
func (r *reviews) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		size := request.ContentLength
		if size < 0 {
			size = maxReview
		}
		if size > maxReview {
			http.Error(w, "the AdmissionReview is larger than 7 MiB; make the object smaller", http.StatusRequestEntityTooLarge)
			return
		}
		ctx, cancel := context.WithTimeout(request.Context(), timeoutOf(request))
		defer cancel()
		pool := r.small
		if size > largeReview {
			pool = r.large
		}
		if err := pool.Acquire(ctx, size); err != nil {
			http.Error(w, "too many bytes of admission reviews are in progress; try again", http.StatusServiceUnavailable)
			return
		}
		defer pool.Release(size)
		serveJSON(w, request.WithContext(ctx), next)
	})
}

// serveJSON passes on a request whose body is a JSON object. The decoder of AdmissionReviews takes any other body for YAML,
// which takes many times the memory.
func serveJSON(w http.ResponseWriter, request *http.Request, next http.Handler) {
	body := http.MaxBytesReader(w, request.Body, maxReview)
	var first [1]byte
	if _, err := io.ReadFull(body, first[:]); err != nil || first[0] != '{' {
		http.Error(w, "the body is not an AdmissionReview in JSON", http.StatusBadRequest)
		return
	}
	request.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader("{"), body), body}
	next.ServeHTTP(w, request)
}

// timeoutOf returns how long the API server waits for a review. The API server adds its timeout to the URL.
func timeoutOf(request *http.Request) time.Duration {
	timeout, err := time.ParseDuration(request.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 {
		return longestAdmission
	}
	return min(timeout, longestAdmission)
}
