package transport

import (
	"net/http"

	"github.com/images-io/tagger/internal/registry/regerr"
)

// Layer is one concern round a transport.
type Layer func(next http.RoundTripper) http.RoundTripper

// layered puts the layers round the transport, the first one innermost. A layer that is nil is left out.
func layered(transport http.RoundTripper, layers ...Layer) http.RoundTripper {
	for _, add := range layers {
		if add != nil {
			transport = add(transport)
		}
	}
	return transport
}

// RoundTrip is a function as a transport.
type RoundTrip func(*http.Request) (*http.Response, error)

func (r RoundTrip) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// userAgent names us, whatever the request says.
func userAgent(agent string) Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTrip(func(request *http.Request) (*http.Response, error) {
			request = request.Clone(request.Context())
			request.Header.Set("User-Agent", agent)
			return next.RoundTrip(request)
		})
	}
}

// httpsUnless refuses plain HTTP: go-containerregistry falls back to it for hosts that look local, and redirects may lead
// to it.
func httpsUnless(insecure func(host string) bool) Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTrip(func(request *http.Request) (*http.Response, error) {
			if request.URL.Scheme != "https" && !insecure(request.URL.Host) {
				return nil, &regerr.PlainHTTPError{Host: request.URL.Host}
			}
			return next.RoundTrip(request)
		})
	}
}
