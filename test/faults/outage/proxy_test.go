//go:build faults

package outage

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// proxy is between the manager and the API server, and forwards requests with the manager's identity.
type proxy struct {
	*cable
	server *httptest.Server

	mu sync.Mutex
	// lag is the delay of the events of watches.
	lag time.Duration
	// held is closed to release the requests that hold names.
	held chan struct{}
	hold func(*http.Request) bool
	// waiting is the number of held requests, anew the number of watches that started with a list, by themselves or because
	// their resource version was compacted.
	waiting, anew int
	// seen counts requests, by method and path.
	seen map[string]int
}

func newProxy(t *testing.T, config *rest.Config) *proxy {
	t.Helper()
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{seen: map[string]int{}}
	reverse := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		FlushInterval:  -1, // events are sent as they come
		ModifyResponse: p.late,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(reverse, w, r) }))
	p.server.EnableHTTP2 = true
	p.server.StartTLS()
	p.cable = newCable(t, p.server.Listener.Addr().String())
	t.Cleanup(func() {
		p.cut()
		p.release()
		p.server.CloseClientConnections()
		p.server.Close()
	})
	return p
}

// config returns the configuration of a client that uses the proxy.
func (p *proxy) config() *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	return &rest.Config{Host: "https://" + p.address, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

// serve forwards a request, at once or when it is released.
func (p *proxy) serve(reverse http.Handler, w http.ResponseWriter, r *http.Request) {
	if held := p.holds(r); held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	}
	reverse.ServeHTTP(w, r)
}

// holds returns a channel for which the request has to wait, or nil.
func (p *proxy) holds(r *http.Request) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[r.Method+" "+r.URL.Path]++
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		p.anew++
	}
	if p.held == nil || !p.hold(r) {
		return nil
	}
	p.waiting++
	return p.held
}

// delay delays the events of watches from now on.
func (p *proxy) delay(lag time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lag = lag
}

// holdBack holds the requests that the function selects until release.
func (p *proxy) holdBack(hold func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.hold = make(chan struct{}), hold
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// counts returns the number of held requests, and of watches that started anew.
func (p *proxy) counts() (waiting, anew int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting, p.anew
}

// requests returns the number of such requests.
func (p *proxy) requests(method, path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[method+" "+path]
}

// late is the body of a watch with the delay at the time of arrival.
func (p *proxy) late(response *http.Response) error {
	if response.Request.URL.Query().Get("watch") != "true" {
		return nil
	}
	read, write := io.Pipe()
	queue := make(chan chunk, 1<<16)
	go p.receive(response.Body, queue)
	go forward(response.Request.Context(), queue, write)
	response.Body = read
	return nil
}

// chunk is a part of a watch, with its time of delivery.
type chunk struct {
	due  time.Time
	data []byte
	err  error
}

func (p *proxy) receive(body io.ReadCloser, queue chan<- chunk) {
	defer close(queue)
	defer body.Close()
	buffer := make([]byte, 1<<16)
	for {
		n, err := body.Read(buffer)
		data := bytes.Clone(buffer[:n])
		p.mu.Lock()
		if bytes.Contains(data, []byte("Expired")) {
			p.anew++
		}
		due := time.Now().Add(p.lag)
		p.mu.Unlock()
		queue <- chunk{due, data, err}
		if err != nil {
			return
		}
	}
}

func forward(ctx context.Context, queue <-chan chunk, to *io.PipeWriter) {
	for chunk := range queue {
		select {
		case <-time.After(time.Until(chunk.due)):
		case <-ctx.Done():
			_ = to.CloseWithError(ctx.Err())
			return
		}
		if _, err := to.Write(chunk.data); err != nil {
			return
		}
		if chunk.err != nil {
			_ = to.CloseWithError(chunk.err)
			return
		}
	}
}
