package transport

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/registriesconf"
)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	// HeaderTimeout is how long a registry may take for the headers of its response.
	HeaderTimeout = 15 * time.Second
	// stallTimeout is how long a registry may let us wait for the next byte of a body.
	stallTimeout = 30 * time.Second
	// storeTimeout is how long the mirror may take to store a blob once it has it, which is a copy in some stores.
	storeTimeout = 5 * time.Minute
	idleTimeout  = 90 * time.Second
	// maxHeader bounds the headers of a response, in bytes.
	maxHeader = 256 << 10
)

// Factory makes the transport for an endpoint: connections that all share, and the middleware around them.
type Factory struct {
	Configuration *registriesconf.Config
	agent         string
	timeouts      Timeouts
	guard         dialGuard
	pool          *transportPool
	// throttle holds the requests of a location to what its hosts may get.
	throttle func(endpoint.Endpoint) Middleware
	around   Middleware
	// tune changes what connections are like.
	tune func(*http.Transport)
}

// ForResolving makes transports for small requests.
func ForResolving(options Options, throttle func(endpoint.Endpoint) Middleware) *Factory {
	return newFactory(options, throttle, func(*http.Transport) {})
}

// ForReading makes transports for copying from a source, and forWriting those for the mirror. They share no connections:
// the mirror may be at an address where no source may be.
func ForReading(options Options, throttle func(endpoint.Endpoint) Middleware) *Factory {
	return newFactory(options, throttle, forBlobs)
}

// ForWriting makes transports for the internal registry.
func ForWriting(options Options, throttle func(endpoint.Endpoint) Middleware) *Factory {
	return newFactory(options, throttle, func(transport *http.Transport) {
		forBlobs(transport)
		transport.ResponseHeaderTimeout = options.Timeouts.Store
	})
}

// forBlobs gives each transfer a connection of its own (HTTP/1.1): there, one that stalls holds up no other, and nothing but
// the kernel buffers it. They are kept, as blobs come by the dozen.
func forBlobs(transport *http.Transport) {
	transport.ForceAttemptHTTP2 = false
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 256, 64
}

func newFactory(options Options, throttle func(endpoint.Endpoint) Middleware, tune func(*http.Transport)) *Factory {
	dialer := net.Dialer{Timeout: dialTimeout, Resolver: options.Resolver, Control: options.Control}
	made := &Factory{
		Configuration: options.Configuration,
		throttle:      throttle,
		around:        options.Around,
		tune:          tune,
		agent:         "tagger/" + cmp.Or(options.Version, "dev"),
		timeouts:      options.Timeouts,
		guard:         newDialGuard(options.Configuration.Lists, dialer),
	}
	made.pool = newTransportPool(func() *transportPair { return made.newPair(options.Proxy, options.CABundle) })
	options.CABundle.OnChange(made.pool.rotate)
	options.Configuration.OnChange(made.pool.rotate)
	return made
}

func (t *Factory) newPair(proxy func(*url.URL) (*url.URL, error), authorities *CABundle) *transportPair {
	return &transportPair{
		verified:   newProxyTransport(proxy, t.guard, t.newTransport(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities.roots()})),
		unverified: newProxyTransport(proxy, t.guard, t.newTransport(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})),
	}
}

// For returns the transport for the requests to an endpoint. A request passes the middleware from the bottom of
// the list to its top.
func (t *Factory) For(ep endpoint.Endpoint) http.RoundTripper {
	insecure := t.insecureAt(ep)
	return chain(
		tlsByHost{insecure: insecure, pool: t.pool},
		t.around,
		t.guard.hide,
		t.throttle(ep),
		userAgent(t.agent),
		t.guard.checkHost,
		requireHTTPS(insecure),
		limitRedirects(maxRedirects),
		identityEncoding,
		limitStall(t.timeouts.Stall),
		limitBody(manifest.MaxSize),
		allowHosts(ep.AllowedHosts),
	)
}

// insecureAt says which hosts the administrator lists as insecure; the one of the place may be so for its path only.
func (t *Factory) insecureAt(ep endpoint.Endpoint) func(host string) bool {
	return func(host string) bool {
		if host == ep.Registry.RegistryStr() {
			return ep.Insecure
		}
		return t.Configuration.IsInsecure(host)
	}
}

// newTransport leaves compression out: a transparent gunzip makes 100 MB of 100 KB, and changes what is hashed.
func (t *Factory) newTransport(config *tls.Config) *http.Transport {
	made := &http.Transport{
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  t.timeouts.Header,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
	t.tune(made)
	return made
}
