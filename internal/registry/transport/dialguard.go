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

// errForbidden is why a connection to an address was not tried.
var errForbidden = errors.New("no registry has this address")

// gate lets connections through to where registries may be, and to what the administrator lists. The exception is for the
// host and port that was asked for, not for the address that these have.
type gate struct {
	listed func(address string) bool
	// open dials without a question.
	open *net.Dialer
	// guarded judges every address that it found just before it connects to that very address, so a name that changes what
	// it means between the two changes nothing.
	guarded *net.Dialer
}

// newGate guards the dialer, whose own Control still has its say.
func newGate(listed func(address string) bool, dialer net.Dialer) gate {
	guarded, next := dialer, dialer.Control
	guarded.ControlContext = func(ctx context.Context, network, address string, connection syscall.RawConn) error {
		found, err := netip.ParseAddrPort(address)
		if err != nil || isForbidden(found.Addr()) {
			return errForbidden
		}
		if dialed, isSeen := ctx.Value(dialedKey{}).(*atomic.Bool); isSeen && isPrivate(found.Addr()) {
			dialed.Store(true)
		}
		if next == nil {
			return nil
		}
		return next(network, address, connection)
	}
	return gate{listed: listed, open: &dialer, guarded: &guarded}
}

type admittedKey struct{}

// admitting lets requests through to hosts that the administrator named elsewhere than in registries.conf.
func admitting(hosts map[string]bool) Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTrip(func(request *http.Request) (*http.Response, error) {
			return next.RoundTrip(request.WithContext(context.WithValue(request.Context(), admittedKey{}, hosts)))
		})
	}
}

func (g gate) lists(ctx context.Context, address string) bool {
	admitted, _ := ctx.Value(admittedKey{}).(map[string]bool)
	return endpoint.IsListed(admitted, address) || g.listed(address)
}

func (g gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if g.lists(ctx, address) {
		return g.open.DialContext(ctx, network, address)
	}
	return g.guarded.DialContext(ctx, network, address)
}

// judging refuses hosts by their name, where a request goes and where its answer redirects to, and says which host it was
// that the gate refused.
func (g gate) judging(next http.RoundTripper) http.RoundTripper {
	return RoundTrip(func(request *http.Request) (*http.Response, error) {
		if g.refuses(request.Context(), request.URL) {
			return nil, &regerr.RefusedHostError{Host: request.URL.Host}
		}
		response, err := next.RoundTrip(request)
		if errors.Is(err, errForbidden) {
			return nil, &regerr.RefusedHostError{Host: request.URL.Host}
		}
		if target := endpoint.RedirectOf(response); target != nil && g.refuses(request.Context(), target) {
			response.Body.Close()
			return nil, &regerr.RefusedHostError{Host: target.Host}
		}
		return response, err
	})
}

func (g gate) refuses(ctx context.Context, address *url.URL) bool {
	return isForbiddenName(address.Hostname()) && !g.lists(ctx, endpoint.Origin(address))
}
