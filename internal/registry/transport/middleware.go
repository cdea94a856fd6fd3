package transport

import (
	"net/http"

	"github.com/images-io/tagger/internal/registry/regerr"
)

// Middleware is one concern round a transport.
type Middleware = func(next http.RoundTripper) http.RoundTripper

// chain puts the layers round the transport, the first one innermost. A layer that is nil is left out.
func chain(transport http.RoundTripper, layers ...Middleware) http.RoundTripper {
	for _, add := range layers {
		if add != nil {
			transport = add(transport)
		}
	}
	return transport
}

// RoundTripperFunc is a function as a transport.
type RoundTripperFunc func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (r RoundTripperFunc) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// userAgent names us, whatever the request says.
func userAgent(agent string) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
			request = request.Clone(request.Context())
			request.Header.Set("User-Agent", agent)
			return next.RoundTrip(request)
		})
	}
}

// requireHTTPS refuses plain HTTP: go-containerregistry falls back to it for hosts that look local, and redirects may lead
// to it.
func requireHTTPS(insecure func(host string) bool) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
			if request.URL.Scheme != "https" && !insecure(request.URL.Host) {
				return nil, &regerr.PlainHTTPError{Host: request.URL.Host}
			}
			return next.RoundTrip(request)
		})
	}
}
