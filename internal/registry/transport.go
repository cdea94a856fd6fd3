package registry

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	// headerTimeout is how long a registry may take for the header of its answer.
	headerTimeout = 15 * time.Second
	// stallTimeout is how long a registry may let us wait for the next byte of a body.
	stallTimeout = 30 * time.Second
	// storeTimeout is how long the mirror may take to store a blob once it has it, which is a copy in some stores.
	storeTimeout = 5 * time.Minute
	idleTimeout  = 90 * time.Second
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 256 << 10
)

// transports makes the way to a place: connections for all, and the layers round them.
type transports struct {
	configuration *RegistriesConf
	agent         string
	timeouts      Timeouts
	gate          gate
	wires         *newest
	// throttle holds the requests of a location to what its hosts may get.
	throttle func(location) layer
	around   layer
	// tune changes what connections are like.
	tune func(*http.Transport)
}

// forResolving are the transports for small questions.
func forResolving(options TransportOptions, throttle func(location) layer) *transports {
	return newTransports(options, throttle, func(*http.Transport) {})
}

// forReading are the transports for copying from a source, and forWriting those for the mirror. They share no connections:
// the mirror may be at an address where no source may be.
func forReading(options TransportOptions, throttle func(location) layer) *transports {
	return newTransports(options, throttle, forBlobs)
}

func forWriting(options TransportOptions, throttle func(location) layer) *transports {
	return newTransports(options, throttle, func(transport *http.Transport) {
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

func newTransports(options TransportOptions, throttle func(location) layer, tune func(*http.Transport)) *transports {
	dialer := net.Dialer{Timeout: dialTimeout, Resolver: options.Resolver, Control: options.Control}
	made := &transports{
		configuration: options.Configuration,
		throttle:      throttle,
		around:        options.Around,
		tune:          tune,
		agent:         "tagger/" + cmp.Or(options.Version, "dev"),
		timeouts:      options.Timeouts,
		gate:          newGate(options.Configuration.lists, dialer),
	}
	made.wires = newNewest(func() *wires { return made.newWires(options.Proxy, options.Authorities) })
	options.Authorities.OnChange(made.wires.renew)
	options.Configuration.OnChange(made.wires.renew)
	return made
}

func (t *transports) newWires(proxy func(*url.URL) (*url.URL, error), authorities *Authorities) *wires {
	return &wires{
		verified:   newRoad(proxy, t.gate, t.newTransport(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities.roots()})),
		unverified: newRoad(proxy, t.gate, t.newTransport(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})),
	}
}

// to is the transport for the requests that are made at this place. A request passes the layers from the bottom of
// the list to its top.
func (t *transports) to(at location) http.RoundTripper {
	insecure := t.insecureAt(at)
	return layered(
		tlsByHost{insecure: insecure, wires: t.wires},
		t.around,
		t.gate.hiding,
		t.throttle(at),
		userAgent(t.agent),
		t.gate.judging,
		httpsUnless(insecure),
		redirectsUpTo(maxRedirects),
		unencoded,
		stallsUpTo(t.timeouts.Stall),
		bodiesUpTo(maxManifest),
		admitting(at.admitted),
	)
}

// insecureAt says which hosts the administrator lists as insecure; the one of the place may be so for its path only.
func (t *transports) insecureAt(at location) func(host string) bool {
	return func(host string) bool {
		if host == at.registry.RegistryStr() {
			return at.insecure
		}
		return t.configuration.insecureHost(host)
	}
}

// newTransport leaves compression out: a transparent gunzip makes 100 MB of 100 KB, and changes what is hashed.
func (t *transports) newTransport(config *tls.Config) *http.Transport {
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
