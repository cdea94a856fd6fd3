package transport

import (
	"errors"
	"net/http"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// maxRedirects bounds the redirects of one request. go-containerregistry sets checks of its own, and these replace Go's
// limit of ten; so we count.
const maxRedirects = 5

var (
	errTooManyRedirects = regerr.Unreachable("it redirects more than %d times", maxRedirects)
	// errBodyElsewhere is a redirect that wants what was posted, an identity token, at another host.
	errBodyElsewhere = regerr.Unreachable("refusing to forward the request body to another host")
	// errNoHostname is a redirect to what can be no host. Hosts are remembered, and so must not be of any size.
	errNoHostname = errors.New("a redirect names no host")
	// errRedirectedLogin is a redirect with a user's name in it, which http.Client would show as a credential.
	errRedirectedLogin = regerr.Unreachable("it redirects with a credential of its own")
)

// limitRedirects counts redirects, and sees that what was shown to one host is not shown to the next: no credential, no body,
// and no address with what may be a signature in it. A token that the other host's own token service gave stays.
func limitRedirects(limit int) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
			if request.Response == nil {
				return next.RoundTrip(request)
			}
			earlier := endpoint.Hops(request)
			if len(earlier) > limit {
				return nil, errTooManyRedirects
			}
			if request.URL.User != nil {
				return nil, errRedirectedLogin
			}
			if len(request.URL.Host) > endpoint.MaxHostLength {
				return nil, errNoHostname
			}
			request = request.Clone(request.Context())
			request.Header.Del("Referer")
			for _, hop := range earlier {
				if endpoint.HostPort(hop.URL) == endpoint.HostPort(request.URL) {
					continue
				}
				if request.Body != nil && request.Body != http.NoBody {
					return nil, errBodyElsewhere
				}
				if hop.Header.Get("Authorization") == request.Header.Get("Authorization") {
					request.Header.Del("Authorization")
				}
			}
			return next.RoundTrip(request)
		})
	}
}
