package transport

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/net/publicsuffix"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// dialedKey is for where a connection attempt notes that it went to a private address.
type dialedKey struct{}

// hide marks failures at hosts that are neither public nor listed.
func (g dialGuard) hide(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
		dialed := new(atomic.Bool)
		ctx := context.WithValue(request.Context(), dialedKey{}, dialed)
		response, err := next.RoundTrip(request.WithContext(ctx))
		if err != nil && !g.lists(ctx, endpoint.HostPort(request.URL)) && (dialed.Load() || isPrivateName(request.URL.Hostname())) {
			return nil, regerr.Hide(err)
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
