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

// relay is a proxy before a registry. It delays every request, counts the traffic, and can stall.
type relay struct {
	server *httptest.Server
	next   http.Handler
	delay  time.Duration
	// stalled stops the bytes of blobs.
	stalled atomic.Bool

	mutex    sync.Mutex
	methods  []string
	uploaded atomic.Int64
}

// traffic is the traffic of a registry.
type traffic struct {
	// methods are the methods of the requests.
	methods []string
	// uploaded is the number of bytes of blobs.
	uploaded int64
}

func newRelay(registry http.Handler, delay time.Duration) *relay {
	r := &relay{delay: delay, next: registry}
	r.server = httptest.NewServer(r)
	return r
}

// proxyTo returns a proxy to a registry that serves plain HTTP.
func proxyTo(registry string) *httputil.ReverseProxy {
	target := &url.URL{Scheme: "http", Host: registry}
	return &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true},
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(target)
			request.Out.Host = request.In.Host // so that the registry's locations name the relay
		},
		BufferPool: &buffers{},
		ErrorLog:   log.New(io.Discard, "", 0), // clients may give up on a request
	}
}

// address is host:port.
func (r *relay) address() string { return r.server.Listener.Addr().String() }

// ServeHTTP implements http.Handler.
func (r *relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mutex.Lock()
	r.methods = append(r.methods, request.Method)
	r.mutex.Unlock()
	if strings.Contains(request.URL.Path, "/blobs/") {
		request.Body = countingBody{request.Body, &r.uploaded}
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
	_ = http.NewResponseController(w).Flush() // it fails if the client is gone
	<-request.Context().Done()
}

// take returns the traffic since its last call.
func (r *relay) take() traffic {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	passed := traffic{r.methods, r.uploaded.Swap(0)}
	r.methods = nil
	return passed
}

// countingBody counts its bytes on reading.
type countingBody struct {
	io.ReadCloser
	count *atomic.Int64
}

// Read implements io.Reader.
func (b countingBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	b.count.Add(int64(n))
	return n, err
}

// buffers are reused, so that the relay takes little of the measured time. They implement httputil.BufferPool.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 256<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
