package transport

import (
	"net/http"
	"net/url"
	"sync/atomic"
)

// transportPair are the connections to registries, of one state of the CAs and of registries.conf: who is let through by either is
// not let through by a connection that was kept from before.
type transportPair struct {
	verified http.RoundTripper
	// unverified is for the hosts that the administrator lists as insecure.
	unverified http.RoundTripper
}

// transportPool has the transports to use now.
type transportPool struct {
	current atomic.Pointer[transportPair]
	create  func() *transportPair
}

func newTransportPool(remake func() *transportPair) *transportPool {
	n := &transportPool{create: remake}
	n.current.Store(remake())
	return n
}

// rotate makes new transports. Requests in progress end on the old ones, which close then.
func (n *transportPool) rotate() {
	old := n.current.Swap(n.create())
	for _, transport := range []http.RoundTripper{old.verified, old.unverified} {
		(&http.Client{Transport: transport}).CloseIdleConnections()
	}
}

// tlsByHost verifies certificates, but of hosts that the administrator lists as insecure. It judges each request by its own
// host, so an insecure registry does not make its token service insecure.
type tlsByHost struct {
	insecure func(host string) bool
	pool     *transportPool
}

func (t tlsByHost) RoundTrip(request *http.Request) (*http.Response, error) {
	current := t.pool.current.Load()
	if t.insecure(request.URL.Host) {
		return current.unverified.RoundTrip(request)
	}
	return current.verified.RoundTrip(request)
}

// proxyTransport leads to a host, straight or through a proxy. The two share no connection: where the proxy is, the administrator
// says, and it may be on loopback; but a Tag that names it as a registry does not get there.
type proxyTransport struct {
	proxy           func(*url.URL) (*url.URL, error)
	direct, proxied *http.Transport
}

// newProxyTransport dials hosts through the guard, and the proxy without it.
func newProxyTransport(proxy func(*url.URL) (*url.URL, error), gate dialGuard, straight *http.Transport) *proxyTransport {
	proxied := straight.Clone()
	proxied.DialContext = gate.unguarded.DialContext
	proxied.Proxy = func(request *http.Request) (*url.URL, error) { return proxy(request.URL) }
	straight.DialContext = gate.dial
	return &proxyTransport{proxy: proxy, direct: straight, proxied: proxied}
}

func (r *proxyTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	proxy, err := r.proxy(request.URL)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return r.direct.RoundTrip(request)
	}
	return r.proxied.RoundTrip(request)
}

// CloseIdleConnections closes idle connections. http.Client looks for this method.
func (r *proxyTransport) CloseIdleConnections() {
	r.direct.CloseIdleConnections()
	r.proxied.CloseIdleConnections()
}
