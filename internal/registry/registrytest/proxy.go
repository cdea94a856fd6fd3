package registrytest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
)

// Proxy is a proxy that connects every name to an upstream, and counts the requests to do so.
type Proxy struct {
	Address *url.URL
	Asked   atomic.Int32
}

// NewProxy starts a proxy.
func NewProxy(t *testing.T, u *Upstream) *Proxy {
	t.Helper()
	p := &Proxy{}
	plain := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Host = u.Host() }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.Asked.Add(1)
		if r.Method != http.MethodConnect {
			plain.ServeHTTP(w, r)
			return
		}
		inward, err := net.Dial("tcp", u.Host())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		outward, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(outward, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(inward, outward); inward.Close() }()
		go func() { _, _ = io.Copy(outward, inward); outward.Close() }()
	}))
	t.Cleanup(server.Close)
	var err error
	if p.Address, err = url.Parse(server.URL); err != nil {
		t.Fatal(err)
	}
	return p
}
