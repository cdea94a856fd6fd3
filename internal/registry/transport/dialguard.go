package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"syscall"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// errForbiddenAddress is why a connection to an address was not tried.
var errForbiddenAddress = errors.New("no registry has this address")

// dialGuard lets connections through to where registries may be, and to what the administrator lists. The exception is for the
// host and port that was asked for, not for the address that these have.
type dialGuard struct {
	listed func(address string) bool
	// unguarded dials any address.
	unguarded *net.Dialer
	// guarded judges every address that it found just before it connects to that very address, so a name that changes what
	// it means between the two changes nothing.
	guarded *net.Dialer
}

// newDialGuard guards the dialer, whose own Control still has its say.
func newDialGuard(listed func(address string) bool, dialer net.Dialer) dialGuard {
	guarded, next := dialer, dialer.Control
	guarded.ControlContext = func(ctx context.Context, network, address string, connection syscall.RawConn) error {
		found, err := netip.ParseAddrPort(address)
		if err != nil || isForbidden(found.Addr()) {
			return errForbiddenAddress
		}
		if dialed, isSeen := ctx.Value(dialedKey{}).(*atomic.Bool); isSeen && isPrivate(found.Addr()) {
			dialed.Store(true)
		}
		if next == nil {
			return nil
		}
		return next(network, address, connection)
	}
	return dialGuard{listed: listed, unguarded: &dialer, guarded: &guarded}
}

type allowedHostsKey struct{}

// allowHosts lets requests through to hosts that the administrator named elsewhere than in registries.conf.
func allowHosts(hosts map[string]bool) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
			return next.RoundTrip(request.WithContext(context.WithValue(request.Context(), allowedHostsKey{}, hosts)))
		})
	}
}

func (g dialGuard) lists(ctx context.Context, address string) bool {
	admitted, _ := ctx.Value(allowedHostsKey{}).(map[string]bool)
	return endpoint.IsListed(admitted, address) || g.listed(address)
}

func (g dialGuard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if g.lists(ctx, address) {
		return g.unguarded.DialContext(ctx, network, address)
	}
	return g.guarded.DialContext(ctx, network, address)
}

// checkHost refuses hosts by their name, where a request goes and where its response redirects to, and says which host it was
// that the guard refused.
func (g dialGuard) checkHost(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
		if g.refuses(request.Context(), request.URL) {
			return nil, &regerr.RefusedHostError{Host: request.URL.Host}
		}
		response, err := next.RoundTrip(request)
		if errors.Is(err, errForbiddenAddress) {
			return nil, &regerr.RefusedHostError{Host: request.URL.Host}
		}
		if target := endpoint.RedirectTarget(response); target != nil && g.refuses(request.Context(), target) {
			response.Body.Close()
			return nil, &regerr.RefusedHostError{Host: target.Host}
		}
		return response, err
	})
}

func (g dialGuard) refuses(ctx context.Context, address *url.URL) bool {
	return isForbiddenName(address.Hostname()) && !g.lists(ctx, endpoint.HostPort(address))
}
