package registry

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/net/publicsuffix"

	v1 "github.com/images-io/tagger/api/v1"
)

// hiddenError is a failure at a host that is neither public nor listed. A tenant must not learn from it what listens
// where in the cluster's networks: all such failures have one reason and one text, and the manager's log has the exact one.
type hiddenError struct{ error }

func (e *hiddenError) Unwrap() error { return e.error }

// Timeout reports whether the failure is a timeout. url.Error looks for it here, and no deeper.
func (e *hiddenError) Timeout() bool { return isTimeout(e.error) }

// dialedKey is for where a connection attempt notes that it went to a private address.
type dialedKey struct{}

// hiding marks failures at hosts that are neither public nor listed.
func (g gate) hiding(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(request *http.Request) (*http.Response, error) {
		dialed := new(atomic.Bool)
		ctx := context.WithValue(request.Context(), dialedKey{}, dialed)
		response, err := next.RoundTrip(request.WithContext(ctx))
		if err != nil && !g.lists(ctx, origin(request.URL)) && (dialed.Load() || isPrivateName(request.URL.Hostname())) {
			return nil, &hiddenError{err}
		}
		return response, err
	})
}

// isPrivateName reports whether a host is a private address, or a name that no public DNS has, such as one of a Service.
func isPrivateName(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		return isPrivate(address)
	}
	suffix, isPublic := publicsuffix.PublicSuffix(strings.TrimRight(strings.ToLower(host), "."))
	return !isPublic && !strings.Contains(suffix, ".")
}

// hidden is the error for what is told of such a host. The exact one is its detail.
func hidden(err error, at location, host, detail string) *Error {
	failure := newError(v1.ReasonUnavailable, err,
		"%s: %s cannot be reached; check spec.from; the administrator finds the cause in the manager's log, and can list %[2]s in registries.conf; Tagger tries again", at.text, host)
	failure.detail = detail
	return failure
}
