//go:build faults

package crash

import (
	"net/http"
	"strings"
	"sync"
)

// gate is a registry's door. While it is shut, whoever asks for a manifest waits for the answer.
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

// close shuts the door.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.waiting = make(chan struct{}), 0
}

// open answers those who wait, if it is shut.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// held is how many wait.
func (g *gate) held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}
