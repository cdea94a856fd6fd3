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
	idleTimeout  = 90 * time.Second
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 256 << 10
)

// limits are how long we wait. Tests wait shorter.
type limits struct{ requests, header, stall, slow time.Duration }

// transports makes the way to a place: connections for all, and the layers round them.
type transports struct {
	configuration *RegistriesConf
	agent         string
	limits        limits
	gate          gate
	wires         *newest
	quotas        *quotas
	around        layer
}

func newTransports(options Options, quotas *quotas) *transports {
	dialer := net.Dialer{Timeout: dialTimeout, Resolver: options.resolver, Control: options.control}
	made := &transports{
		configuration: options.Configuration,
		quotas:        quotas,
		around:        options.Around,
		agent:         "tagger/" + cmp.Or(options.Version, "dev"),
		limits:        options.limits,
		gate:          newGate(options.Configuration.lists, dialer),
	}
	made.wires = newNewest(func() *wires { return made.newWires(options.Proxy, options.Authorities) })
	options.Authorities.OnChange(made.wires.renew)
	options.Configuration.OnChange(made.wires.renew)
	return made
}

func (t *transports) newWires(proxy func(*url.URL) (*url.URL, error), authorities *Authorities) *wires {
	return &wires{
		verified:   newRoad(proxy, t.gate, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities.roots()}, t.limits),
		unverified: newRoad(proxy, t.gate, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, t.limits),
	}
}

// to is the transport for the requests that resolving at this place makes. A request passes the layers from the bottom of
// the list to its top.
func (t *transports) to(at location) http.RoundTripper {
	insecure := t.insecureAt(at)
	return layered(
		tlsByHost{insecure: insecure, wires: t.wires},
		t.around,
		t.quotas.meter(at),
		userAgent(t.agent),
		t.gate.judging,
		httpsUnless(insecure),
		redirectsUpTo(maxRedirects),
		unencoded,
		stallsUpTo(t.limits.stall),
		bodiesUpTo(maxManifest),
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
func newTransport(config *tls.Config, limits limits) *http.Transport {
	return &http.Transport{
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  limits.header,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
}
