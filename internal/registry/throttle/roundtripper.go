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

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/transport"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
)

const limited = v1.ReasonRateLimited

// longestForStrangers is for how long a registry is left alone at most for what it answered those who were led there.
const longestForStrangers = time.Minute

// Meter is the layer that every request passes, redirected ones and those for tokens too: it holds each host to its quota,
// and learns from what the host answers. It stands next to the wire, so that it sees no refusal of our own.
func (q *Quotas) Meter(at endpoint.Location) transport.Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return transport.RoundTrip(func(request *http.Request) (*http.Response, error) {
			sent := sentRequest{Request: request, isQuestion: isQuestion(request, at), isOurs: at.IsOurs(), isForeign: isForeignTo(request, at)}
			if err := q.admit(&sent); err != nil {
				if request.Body != nil {
					request.Body.Close()
				}
				return nil, err
			}
			response, err := next.RoundTrip(request)
			q.learn(sent, response, err)
			return response, err
		})
	}
}

// sentRequest is a request under way.
type sentRequest struct {
	*http.Request
	// isQuestion: it is for a manifest or a blob.
	isQuestion bool
	// isForeign: somebody else's registry led here.
	isForeign bool
	at        time.Time
	// isOurs: it is for the mirror, which the administrator gives us to write to as fast as we can.
	isOurs bool
}

// isUpload says whether a blob is sent with the request, which may take hours.
func (r sentRequest) isUpload() bool {
	return r.isOurs && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/")
}

// cameLate says whether the time for the whole question was over before the host had had its own. Another one, whose
// redirect led here, may have taken it, and this one is not to blame.
func (r sentRequest) cameLate(now time.Time) bool {
	return errors.Is(r.Context().Err(), context.DeadlineExceeded) && now.Sub(r.at) < transport.HeaderTimeout
}

// wasGivenUp says whether nobody wanted the answer any more: the greeting is tried by HTTPS and, where that is allowed, by HTTP, and
// the slower one is given up; and what is under way for a copy, when something else of it fails. The error may be the reason why, which
// is about something else. An upload that ends because it stands still is the host's own failure; one that ends with another is not.
func (r sentRequest) wasGivenUp() bool {
	isItsOwn := context.Cause(r.Context()) == regerr.ErrUploadStalled //nolint:errorlint // what wraps it is another upload's
	return errors.Is(r.Context().Err(), context.Canceled) && !isItsOwn
}

// isForeignTo says whether a request goes where another registry redirects, or has its tokens from.
func isForeignTo(request *http.Request, at endpoint.Location) bool {
	led := slices.ContainsFunc(transport.Hops(request), func(hop *http.Request) bool { return endpoint.AddressOf(hop.URL) != at.Address() })
	return led || endpoint.AddressOf(request.URL) != at.Address()
}

// isQuestion says whether a request is for a manifest or a blob of the place. Where a redirect or a realm leads is not: anybody may
// name any host there.
func isQuestion(request *http.Request, at endpoint.Location) bool {
	return request.Response == nil && endpoint.AddressOf(request.URL) == at.Address() &&
		(strings.Contains(request.URL.Path, "/manifests/") || strings.Contains(request.URL.Path, "/blobs/"))
}

func (q *Quotas) admit(request *sentRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, h := q.clock.Now(), q.host(endpoint.AddressOf(request.URL))
	request.at = now
	h.isRegistry = h.isRegistry || request.isQuestion
	if err := h.closed(now); err != nil {
		return err
	}
	if !request.isOurs && !h.requests.AllowN(now, 1) {
		return q.later(h, "it got as many requests as it should")
	}
	if !h.breaker.probes(request.isUpload()) {
		return q.later(h, "another request tries whether it works again")
	}
	return nil
}

func (q *Quotas) learn(request sentRequest, response *http.Response, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, h := q.clock.Now(), q.host(endpoint.AddressOf(request.URL))
	if err != nil && (request.cameLate(now) || request.wasGivenUp()) {
		h.breaker.toldNothing()
		return
	}
	if request.isForeign && h.isRegistry {
		h.learnFromStrangers(response, now)
		return
	}
	if err != nil {
		h.learnFailure(err, now, q.jitter())
		return
	}
	if told, ok := readBudget(response.Header, now); ok {
		q.budgets.Add(h.name+" "+identity(request.Context()), told)
	}
	h.learnAnswer(request, response, now, q.jitter())
}

// learnFailure counts what makes a host unavailable, and not what we refuse. Failures at a hidden host count alike, or their number
// would tell them apart.
func (h *host) learnFailure(err error, now time.Time, jitter float64) {
	h.isHidden = regerr.IsA[*regerr.HiddenError](err)
	switch {
	case errors.Is(err, regerr.ErrAtSource) || regerr.Classify(err, regerr.Subject{}).Reason() != v1.ReasonUnavailable:
		h.breaker.toldNothing()
	case regerr.IsTimeout(err) && !h.isHidden:
		h.breaker.timedOut(now, jitter)
	default:
		h.breaker.failed(now, 0, jitter)
	}
}

// learnFromStrangers is for a registry that others led to, perhaps to what fails on purpose: only that it asks to wait counts, and
// not for long. Its own Tags tell the rest.
func (h *host) learnFromStrangers(response *http.Response, now time.Time) {
	if response != nil && response.StatusCode == http.StatusTooManyRequests {
		asked := cmp.Or(regerr.ParseRetryAfter(response.Header.Get("Retry-After"), now), shortestPause)
		h.breaker.limited(now, min(asked, longestForStrangers), 0)
		return
	}
	h.breaker.toldNothing()
}

func (h *host) learnAnswer(request sentRequest, response *http.Response, now time.Time, jitter float64) {
	h.isHidden = false
	asked := regerr.ParseRetryAfter(response.Header.Get("Retry-After"), now)
	switch code := response.StatusCode; {
	case code == http.StatusTooManyRequests:
		h.breaker.limited(now, asked, jitter)
	case code == http.StatusServiceUnavailable:
		h.breaker.failed(now, asked, jitter)
	case code >= 500 && code != http.StatusNotImplemented: // which is how some registries say that they know no HEAD
		h.breaker.failed(now, 0, jitter)
	case code < 500 && (request.isQuestion || !h.isRegistry):
		h.breaker.worked(now)
	default:
		h.breaker.toldNothing()
	}
}

// Explain gives an error its meaning, and says until when its host is left alone.
func (q *Quotas) Explain(err error, at endpoint.Location) error {
	var postponed *Postponed
	var closed *regerr.PausedError
	switch {
	case errors.As(err, &closed):
		return closed.About(at.Subject(), max(closed.Until.Sub(q.clock.Now()), 0))
	case errors.As(err, &postponed):
		return postponed
	case errors.Is(err, errReadersBusy):
		return q.comeBack(at, errReadersBusy.Error())
	}
	failure := regerr.Classify(err, at.Subject())
	until, wait := q.closedFor(failedAt(err, at))
	if wait == 0 || !failure.Reason().Retried() || failure.Detail() != "" {
		return failure
	}
	return failure.Until(until, wait)
}

// failedAt is the host whose answer, or silence, an error is.
func failedAt(err error, at endpoint.Location) string {
	var answer *ggcr.Error
	if errors.As(err, &answer) && answer.Request != nil {
		return endpoint.AddressOf(answer.Request.URL)
	}
	var failed *url.Error
	if errors.As(err, &failed) {
		if address, err := url.Parse(failed.URL); err == nil && address.Host != "" {
			return endpoint.AddressOf(address)
		}
	}
	return at.Address()
}
