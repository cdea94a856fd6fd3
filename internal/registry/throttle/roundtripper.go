package throttle

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
)

const rateLimited = v1.ReasonRateLimited

// longestForeignPause bounds the pause of a registry for its responses to requests that another registry led there.
const longestForeignPause = time.Minute

// Middleware returns what every request passes, redirected ones and those for tokens too: it refuses requests that have to wait, and
// learns from responses. It is next to the connection, so that it does not see what Tagger itself refuses.
func (t *Throttler) Middleware(ep endpoint.Endpoint) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripperFunc(func(request *http.Request) (*http.Response, error) {
			sent := requestInfo{Request: request, headerTimeout: t.headerTimeout, isContent: isContentRequest(request, ep), isMirror: ep.IsMirror(), isForeign: isForeign(request, ep)}
			if err := t.admit(&sent); err != nil {
				if request.Body != nil {
					request.Body.Close()
				}
				return nil, err
			}
			response, err := next.RoundTrip(request)
			t.observe(sent, response, err)
			return response, err
		})
	}
}

// roundTripperFunc is a function as an http.RoundTripper.
type roundTripperFunc func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripperFunc) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// requestInfo is a request in progress.
type requestInfo struct {
	*http.Request
	// isContent: it is for a manifest or a blob.
	isContent bool
	// isForeign: another registry led here.
	isForeign bool
	sent      time.Time
	// headerTimeout is what the host has for the header of its response.
	headerTimeout time.Duration
	// isMirror: it is for the internal registry, which has no rate limit.
	isMirror bool
}

// isUpload says whether a blob is sent with the request, which may take hours.
func (r requestInfo) isUpload() bool {
	return r.isMirror && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/")
}

// startedLate reports whether the time for the whole operation was over before the host had its own time. Another host, whose redirect led
// here, may have taken it.
func (r requestInfo) startedLate(now time.Time) bool {
	return errors.Is(r.Context().Err(), context.DeadlineExceeded) && now.Sub(r.sent) < r.headerTimeout
}

// wasCanceled reports whether the caller gave up: a ping is tried by HTTPS and, where that is allowed, by HTTP, and the slower one is
// canceled; so are the requests of a copy when another one of it fails. The error may then be the reason, which is about another request. An
// upload that ends because it stalls is the host's own failure.
func (r requestInfo) wasCanceled() bool {
	isItsOwn := context.Cause(r.Context()) == regerr.ErrUploadStalled //nolint:errorlint // what wraps it is another upload's
	return errors.Is(r.Context().Err(), context.Canceled) && !isItsOwn
}

// isForeign reports whether another registry redirected here, or gets its tokens here.
func isForeign(request *http.Request, ep endpoint.Endpoint) bool {
	led := slices.ContainsFunc(endpoint.Hops(request), func(hop *http.Request) bool { return endpoint.AddressOf(hop.URL) != ep.Address() })
	return led || endpoint.AddressOf(request.URL) != ep.Address()
}

// isContentRequest reports whether a request is for a manifest or a blob of the endpoint. A redirect or a realm leads to any host that a
// registry names, so those requests do not count.
func isContentRequest(request *http.Request, ep endpoint.Endpoint) bool {
	return request.Response == nil && endpoint.AddressOf(request.URL) == ep.Address() &&
		(strings.Contains(request.URL.Path, "/manifests/") || strings.Contains(request.URL.Path, "/blobs/"))
}

// admit counts a request, or refuses it.
func (t *Throttler) admit(request *requestInfo) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, h := t.clock.Now(), t.host(endpoint.AddressOf(request.URL))
	tenant := t.tenant(h, requestOf(request.Context()).Namespace)
	request.sent = now
	h.isRegistry = h.isRegistry || request.isContent
	if err := cmp.Or(h.paused(&h.breaker, now), h.paused(tenant, now)); err != nil {
		return err
	}
	if !request.isMirror && !h.requests.AllowN(now, 1) {
		return t.busy(h)
	}
	if !h.breaker.allowProbe(request.isUpload()) {
		return t.probed(h)
	}
	if !tenant.allowProbe(request.isUpload()) {
		h.breaker.onIgnored()
		return t.probed(h)
	}
	return nil
}

// observe learns from the end of a request.
func (t *Throttler) observe(request requestInfo, response *http.Response, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, h := t.clock.Now(), t.host(endpoint.AddressOf(request.URL))
	tenant := t.tenant(h, requestOf(request.Context()).Namespace)
	switch {
	case err != nil && (request.startedLate(now) || request.wasCanceled()):
		h.breaker.onIgnored()
		tenant.onIgnored()
	case request.isForeign && h.isRegistry:
		h.observeForeign(response, now)
		tenant.onIgnored()
	case err != nil:
		h.observeFailure(err, now, t.jitter())
		tenant.onIgnored()
	default:
		if limit, ok := parseRateLimit(response.Header, now); ok {
			t.rateLimits.Add(h.name+" "+requestOf(request.Context()).CredentialID, limit)
		}
		h.observeResponse(tenant, request, response, now, t.jitter())
	}
}

// observeFailure counts what makes a host unavailable, and not what Tagger refuses. Failures at a hidden host count alike, or their number
// would tell them apart.
func (h *host) observeFailure(err error, now time.Time, jitter float64) {
	h.isHidden = regerr.IsA[*regerr.HiddenError](err)
	switch {
	case errors.Is(err, regerr.ErrAtSource) || regerr.Classify(err, regerr.Subject{}).Reason() != v1.ReasonUnavailable:
		h.breaker.onIgnored()
	case regerr.IsTimeout(err) && !h.isHidden:
		h.breaker.onTimeout(now, jitter)
	default:
		h.breaker.onFailure(now, 0, jitter)
	}
}

// observeForeign observes the response of a registry that another host led to, perhaps with a request that fails on purpose. It counts only
// a response that asks to wait, and not for long.
func (h *host) observeForeign(response *http.Response, now time.Time) {
	if response != nil && response.StatusCode == http.StatusTooManyRequests {
		asked := cmp.Or(regerr.ParseRetryAfter(response.Header.Get("Retry-After"), now), shortestPause)
		h.breaker.onRateLimited(now, min(asked, longestForeignPause), 0)
		return
	}
	h.breaker.onIgnored()
}

// observeResponse counts a response that fails for the namespace only: a tenant chooses the path, and may choose one that always fails. A
// host that responds works for the others.
func (h *host) observeResponse(tenant *breaker, request requestInfo, response *http.Response, now time.Time, jitter float64) {
	h.isHidden = false
	asked := regerr.ParseRetryAfter(response.Header.Get("Retry-After"), now)
	code := response.StatusCode
	showsContent := request.isContent || !h.isRegistry
	switch {
	case code == http.StatusTooManyRequests:
		h.breaker.onRateLimited(now, asked, jitter)
		tenant.onIgnored()
		return
	case code == http.StatusServiceUnavailable:
		tenant.onFailure(now, asked, jitter)
	case code >= 500 && code != http.StatusNotImplemented: // which is how some registries say that they do not support HEAD
		tenant.onFailure(now, 0, jitter)
	case code < 500 && showsContent:
		tenant.onSuccess(now)
	default:
		tenant.onIgnored()
	}
	if showsContent {
		h.breaker.onSuccess(now)
	} else {
		h.breaker.onIgnored()
	}
}

// Describe gives an error its reason and text, and says until when its host is not asked for the namespace.
func (t *Throttler) Describe(err error, ep endpoint.Endpoint, namespace string) error {
	var throttled *ThrottledError
	var paused *regerr.PausedError
	switch {
	case errors.As(err, &paused):
		return paused.About(ep.Subject(), max(paused.Until.Sub(t.clock.Now()), 0))
	case errors.As(err, &throttled):
		return throttled
	case errors.Is(err, errReadsBusy):
		return &ThrottledError{Host: ep.Address(), why: errReadsBusy.Error(), RetryAfter: time.Second}
	}
	failure := regerr.Classify(err, ep.Subject())
	until, wait := t.pausedFor(failedHost(err, ep), namespace)
	if wait == 0 || !failure.Reason().Retried() || failure.Detail() != "" {
		return failure
	}
	return failure.Until(until, wait)
}

// failedHost returns the host that an error is about.
func failedHost(err error, ep endpoint.Endpoint) string {
	var response *ggcr.Error
	if errors.As(err, &response) && response.Request != nil {
		return endpoint.AddressOf(response.Request.URL)
	}
	var failed *url.Error
	if errors.As(err, &failed) {
		if address, err := url.Parse(failed.URL); err == nil && address.Host != "" {
			return endpoint.AddressOf(address)
		}
	}
	return ep.Address()
}
