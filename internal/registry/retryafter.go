package registry

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"k8s.io/utils/clock"
)

// maxRetryAfter bounds what a registry may ask for.
const maxRetryAfter = 24 * time.Hour

type retryAfterKey struct{}

// notingRetryAfter keeps an answer's Retry-After where its error can be asked for it: go-containerregistry's transport.Error
// drops the headers, but keeps the request. Nothing is shared between requests.
func notingRetryAfter(clock clock.PassiveClock) layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err != nil || (response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable) {
				return response, err
			}
			wait := retryAfter(response.Header.Get("Retry-After"), clock.Now())
			response.Request = request.WithContext(context.WithValue(request.Context(), retryAfterKey{}, wait))
			return response, nil
		})
	}
}

// notedRetryAfter is what notingRetryAfter noted, or 0.
func notedRetryAfter(request *http.Request) time.Duration {
	if request == nil {
		return 0
	}
	wait, _ := request.Context().Value(retryAfterKey{}).(time.Duration)
	return wait
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
