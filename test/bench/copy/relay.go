package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// relay stands before a registry that speaks plain HTTP. It has every request wait, counts what passes, and can stall.
type relay struct {
	server *httptest.Server
	next   *httputil.ReverseProxy
	delay  time.Duration
	// stalled: no more bytes of blobs come.
	stalled atomic.Bool

	mutex  sync.Mutex
	passed traffic
}

// traffic is what came to a registry.
type traffic struct {
	// requests are their methods.
	requests []string
	// uploaded is how many bytes of blobs there were.
	uploaded int64
}

func newRelay(registry string, delay time.Duration) *relay {
	target := &url.URL{Scheme: "http", Host: registry}
	r := &relay{delay: delay, next: &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true},
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(target)
			request.Out.Host = request.In.Host // so that the registry's locations lead through here
		},
		ErrorLog: log.New(io.Discard, "", 0), // clients may give up on a request
	}}
	r.server = httptest.NewServer(r)
	return r
}

// address is host:port.
func (r *relay) address() string { return r.server.Listener.Addr().String() }

// ServeHTTP implements http.Handler.
func (r *relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.count(func(passed *traffic) { passed.requests = append(passed.requests, request.Method) })
	if strings.Contains(request.URL.Path, "/blobs/") {
		request.Body = countingBody{request.Body, r}
	}
	select {
	case <-time.After(r.delay):
		r.answer(w, request)
	case <-request.Context().Done():
	}
}

func (r *relay) answer(w http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodGet || !strings.Contains(request.URL.Path, "/blobs/") || !r.stalled.Load() {
		r.next.ServeHTTP(w, request)
		return
	}
	w.Header().Set("Content-Length", "1048576")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // it fails where the client is gone
	<-request.Context().Done()
}

// take returns what passed since it was called the last time.
func (r *relay) take() (passed traffic) {
	r.count(func(counted *traffic) { passed, *counted = *counted, traffic{} })
	return passed
}

func (r *relay) count(do func(passed *traffic)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	do(&r.passed)
}

// countingBody counts the bytes of a blob as they are read.
type countingBody struct {
	io.ReadCloser
	relay *relay
}

// Read implements io.Reader.
func (b countingBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	b.relay.count(func(passed *traffic) { passed.uploaded += int64(n) })
	return n, err
}
