//go:build faults

package crash

import (
	"net/http"
	"strings"
	"sync"
)

// gate is a registry that can hold requests for manifests.
type gate struct {
	http.Handler

	mu      sync.Mutex
	shut    chan struct{}
	waiting int
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if shut := g.wait(r); shut != nil {
		<-shut
	}
	g.Handler.ServeHTTP(w, r)
}

func (g *gate) wait(r *http.Request) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	isRead := r.Method == http.MethodGet || r.Method == http.MethodHead
	if g.shut != nil && isRead && strings.Contains(r.URL.Path, "/manifests/") {
		g.waiting++
		return g.shut
	}
	return nil
}

// close holds requests from now on.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.waiting = make(chan struct{}), 0
}

// open responds to held requests.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// held returns the number of held requests.
func (g *gate) held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}
