package throttle

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/transport"
)

// metered sends a request through the meter of a place, to a wire that takes a while and then answers or fails.
func metered(t *testing.T, q *Throttler, ep endpoint.Endpoint, ctx context.Context, address string, wire roundTripperFunc, redirected bool) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if redirected {
		request.Response = &http.Response{Request: &http.Request{URL: &url.URL{Scheme: "https", Host: ep.Host}, Response: nil}}
	}
	response, err := q.Middleware(ep)(wire).RoundTrip(request)
	if err == nil {
		response.Body.Close()
	}
}

func place(t *testing.T, host string) endpoint.Endpoint {
	t.Helper()
	source, err := reference.Parse(host+"/team/app:latest", "")
	if err != nil {
		t.Fatal(err)
	}
	ep, err := endpoint.New(source, source, false)
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

func answersWith(code int) roundTripperFunc {
	return func(request *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: request}, nil
	}
}

// TestBreaker_TimeOfAnotherHost: evil.example stalls for almost as long as a question may take, and then
// redirects to a registry that everybody needs.
func TestBreaker_TimeOfAnotherHost(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	q := New(clock, 15*time.Second)
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	cut := func(took time.Duration) roundTripperFunc {
		return func(*http.Request) (*http.Response, error) {
			clock.SetTime(clock.Now().Add(took))
			return nil, context.DeadlineExceeded
		}
	}
	for range failuresToOpen {
		metered(t, q, place(t, "evil.example"), late, "https://quay.io/v2/team/app/manifests/latest", cut(50*time.Millisecond), true)
	}
	if q.host("quay.io").breaker.isOpen(clock.Now()) {
		t.Error("quay.io is left alone for what evil.example did")
	}
	for range failuresToOpen {
		metered(t, q, place(t, "quay.io"), late, "https://quay.io/v2/team/app/manifests/latest", cut(transport.HeaderTimeout), false)
	}
	if !q.host("quay.io").breaker.isOpen(clock.Now()) {
		t.Error("quay.io does not answer in all its time, and is not left alone")
	}
}

// TestAnUploadThatStandsStillIsAFailure of the mirror, and not of those that end with it.
func TestAnUploadThatStandsStillIsAFailure(t *testing.T) {
	other := regerr.New(v1.ReasonMirrorUnavailable, regerr.ErrUploadStalled, "an upload stands still")
	for _, row := range []struct {
		cause  error
		counts bool
	}{{regerr.ErrUploadStalled, true}, {other, false}, {nil, false}} {
		clock := clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
		q, ep := New(clock, 15*time.Second), place(t, "mirror.example")
		ended, cancel := context.WithCancelCause(t.Context())
		cancel(row.cause)
		for range failuresToOpen {
			metered(t, q, ep, ended, "https://mirror.example/v2/team/app/blobs/uploads/1", func(*http.Request) (*http.Response, error) {
				return nil, context.Cause(ended)
			}, false)
		}
		if counts := q.host(ep.Address()).breaker.isOpen(clock.Now()); counts != row.counts {
			t.Errorf("ended by %v, it counts: %v", row.cause, counts)
		}
	}
}

// TestBreaker_RedirectedFailures: evil.example redirects to what fails at a registry that everybody needs.
func TestBreaker_RedirectedFailures(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	q := New(clock, 15*time.Second)
	quay := "https://quay.io/v2/team/app/manifests/latest"
	metered(t, q, place(t, "quay.io"), t.Context(), quay, answersWith(http.StatusOK), false)
	for range failuresToOpen {
		metered(t, q, place(t, "evil.example"), t.Context(), "https://quay.io/pages/fails", answersWith(http.StatusBadGateway), true)
	}
	if q.host("quay.io").breaker.isOpen(clock.Now()) {
		t.Error("quay.io is left alone for a page of it that fails")
	}
	metered(t, q, place(t, "evil.example"), t.Context(), "https://quay.io/pages/waits", asksToWait("86400"), true)
	if b := &q.host("quay.io").breaker; !b.isOpen(clock.Now()) || b.isOpen(clock.Now().Add(2*longestForeignPause)) {
		t.Errorf("quay.io is left alone until %s", b.until)
	}
	for range 10 {
		clock.SetTime(clock.Now().Add(2 * longestForeignPause))
		metered(t, q, place(t, "evil.example"), t.Context(), "https://quay.io/pages/waits", asksToWait(""), true)
	}
	clock.SetTime(clock.Now().Add(2 * shortestPause))
	if b := &q.host("quay.io").breaker; b.isOpen(clock.Now()) {
		t.Errorf("quay.io is left alone until %s for what strangers are answered again and again", b.until)
	}
	metered(t, q, place(t, "quay.io"), t.Context(), quay, asksToWait("86400"), false)
	if b := &q.host("quay.io").breaker; !b.isOpen(clock.Now().Add(time.Hour)) {
		t.Errorf("quay.io asks for a day, and is left alone until %s", b.until)
	}
}

func asksToWait(seconds string) roundTripperFunc {
	return func(request *http.Request) (*http.Response, error) {
		response, err := answersWith(http.StatusTooManyRequests)(request)
		response.Header.Set("Retry-After", seconds)
		return response, err
	}
}

// TestBreaker_RedirectToATokenService: it would never be asked for a manifest, and so never work again.
func TestBreaker_RedirectToATokenService(t *testing.T) {
	q := New(clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0)), 15*time.Second)
	metered(t, q, place(t, "evil.example"), t.Context(), "https://auth.docker.io/v2/x/manifests/y", answersWith(http.StatusNotFound), true)
	metered(t, q, place(t, "evil.example"), t.Context(), "https://auth.docker.io/v2/x/manifests/y", answersWith(http.StatusNotFound), false) // as a realm
	if q.host("auth.docker.io").isRegistry {
		t.Error("auth.docker.io counts as a registry")
	}
}

// TestBreaker_RedirectToItself: that is no stranger's doing.
func TestBreaker_RedirectToItself(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	q, quay := New(clock, 15*time.Second), "https://quay.io/v2/team/app/manifests/latest"
	metered(t, q, place(t, "quay.io"), t.Context(), quay, answersWith(http.StatusOK), false)
	metered(t, q, place(t, "quay.io"), t.Context(), quay+"/elsewhere", asksToWait("3600"), true)
	if b := &q.host("quay.io").breaker; !b.isOpen(clock.Now().Add(59 * time.Minute)) {
		t.Errorf("quay.io asks for an hour, and is left alone until %s", b.until)
	}
}

func TestWhatIsTooLongForAHostIsNotKept(t *testing.T) {
	q := New(clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0)), 15*time.Second)
	q.pausedFor(strings.Repeat("a", 1<<16), "")
	q.host(strings.Repeat("b", 1<<16))
	if q.hosts.Len() != 0 {
		t.Errorf("%d are kept", q.hosts.Len())
	}
}

// TestAnUploadIsNoProbe: it may take hours, and everybody would wait for its end.
func TestAnUploadIsNoProbe(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	b := &New(clock, 15*time.Second).host("mirror.test").breaker
	for range failuresToOpen {
		b.onFailure(clock.Now(), 0, 0)
	}
	if b.allowProbe(true) {
		t.Error("an upload tries whether the mirror works again")
	}
	if !b.allowProbe(false) || b.allowProbe(false) {
		t.Error("one question should try, and no other")
	}
}
