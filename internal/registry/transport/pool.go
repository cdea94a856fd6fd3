package transport

import (
	"net/http"
	"net/url"
	"sync/atomic"
)

// wires are the connections to registries, of one state of the CAs and of registries.conf: who is let through by either is
// not let through by a connection that was kept from before.
type wires struct {
	verified http.RoundTripper
	// unverified is for the hosts that the administrator lists as insecure.
	unverified http.RoundTripper
}

// newest is the wires to use now.
type newest struct {
	current atomic.Pointer[wires]
	remake  func() *wires
}

func newNewest(remake func() *wires) *newest {
	n := &newest{remake: remake}
	n.current.Store(remake())
	return n
}

// renew makes new wires. Requests that are on their way end on the old ones, which close then.
func (n *newest) renew() {
	old := n.current.Swap(n.remake())
	for _, transport := range []http.RoundTripper{old.verified, old.unverified} {
		(&http.Client{Transport: transport}).CloseIdleConnections()
	}
}

// tlsByHost verifies certificates, but of hosts that the administrator lists as insecure. It judges each request by its own
// host, so an insecure registry does not make its token service insecure.
type tlsByHost struct {
	insecure func(host string) bool
	wires    *newest
}

func (t tlsByHost) RoundTrip(request *http.Request) (*http.Response, error) {
	current := t.wires.current.Load()
	if t.insecure(request.URL.Host) {
		return current.unverified.RoundTrip(request)
	}
	return current.verified.RoundTrip(request)
}

// road leads to a host, straight or through a proxy. The two share no connection: where the proxy is, the administrator
// says, and it may be on loopback; but nobody gets there by naming it as a registry.
type road struct {
	proxy             func(*url.URL) (*url.URL, error)
	straight, proxied *http.Transport
}

// newRoad dials hosts through the gate, and the proxy past it.
func newRoad(proxy func(*url.URL) (*url.URL, error), gate gate, straight *http.Transport) *road {
	proxied := straight.Clone()
	proxied.DialContext = gate.open.DialContext
	proxied.Proxy = func(request *http.Request) (*url.URL, error) { return proxy(request.URL) }
	straight.DialContext = gate.dial
	return &road{proxy: proxy, straight: straight, proxied: proxied}
}

func (r *road) RoundTrip(request *http.Request) (*http.Response, error) {
	proxy, err := r.proxy(request.URL)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return r.straight.RoundTrip(request)
	}
	return r.proxied.RoundTrip(request)
}

// CloseIdleConnections is what http.Client looks for.
func (r *road) CloseIdleConnections() {
	r.straight.CloseIdleConnections()
	r.proxied.CloseIdleConnections()
}
