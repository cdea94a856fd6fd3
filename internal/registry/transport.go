package registry

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	// headerTimeout is how long a registry may think before the first byte of its answer.
	headerTimeout = 15 * time.Second
	idleTimeout   = 90 * time.Second
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 256 << 10
)

// transports makes the way to a place: one pair of connection pools for all, and the layers round it.
type transports struct {
	configuration *RegistriesConf
	agent         string
	verified      http.RoundTripper
	// unverified is for the hosts that the administrator lists as insecure.
	unverified http.RoundTripper
	quotas     *quotas
	around     layer
}

func newTransports(options Options, quotas *quotas) (*transports, error) {
	authorities, err := authorities(options.CAFile)
	if err != nil {
		return nil, err
	}
	return &transports{
		configuration: options.Configuration,
		quotas:        quotas,
		around:        options.Around,
		agent:         "tagger/" + cmp.Or(options.Version, "dev"),
		verified:      newTransport(options.Proxy, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}),
		unverified:    newTransport(options.Proxy, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}),
	}, nil
}

// to is the transport for the requests that resolving at this place makes. A request passes the layers from the bottom of
// the list to its top.
func (t *transports) to(at location) http.RoundTripper {
	insecure := func(host string) bool {
		if host == at.registry.RegistryStr() {
			return at.insecure
		}
		return t.configuration.insecureHost(host)
	}
	return layered(
		tlsByHost{insecure: insecure, verified: t.verified, unverified: t.unverified},
		t.around,
		t.quotas.meter,
		userAgent(t.agent),
		httpsUnless(insecure),
		bodiesUpTo(maxManifest),
	)
}

// newTransport leaves compression out: a transparent gunzip makes 100 MB of 100 KB, and changes what is hashed.
func newTransport(proxy func(*url.URL) (*url.URL, error), config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
	if proxy != nil {
		transport.Proxy = func(request *http.Request) (*url.URL, error) { return proxy(request.URL) }
	}
	return transport
}

// authorities are the system's CAs and those of the bundle.
func authorities(bundle string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's CAs: %w", err)
	}
	if bundle == "" {
		return pool, nil
	}
	content, err := os.ReadFile(bundle)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle of CAs: %w", err)
	}
	if !pool.AppendCertsFromPEM(content) {
		return nil, errors.New("the bundle of CAs " + bundle + " holds no PEM certificate")
	}
	return pool, nil
}
