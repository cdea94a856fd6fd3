package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
)

// headRegistry is a registry that has every repository and every tag, and serves the request of a check: HEAD of a manifest
// (OCI distribution spec, section "Pulling manifests"). It has nothing else.
type headRegistry struct {
	server   *httptest.Server
	revision atomic.Int64
	heads    atomic.Int64
}

func newHeadRegistry() *headRegistry {
	r := &headRegistry{}
	r.server = httptest.NewServer(r)
	return r
}

// address is host:port.
func (r *headRegistry) address() string { return r.server.Listener.Addr().String() }

// push gives every tag another digest.
func (r *headRegistry) push() { r.revision.Add(1) }

// digest returns the current digest of a path.
func (r *headRegistry) digest(path string) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Appendf(nil, "%s %d", path, r.revision.Load())))
}

// ServeHTTP implements http.Handler.
func (r *headRegistry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	switch {
	case request.URL.Path == "/v2/":
	case request.Method == http.MethodHead && strings.Contains(request.URL.Path, "/manifests/"):
		r.heads.Add(1)
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		w.Header().Set("Content-Length", "1024")
		w.Header().Set("Docker-Content-Digest", r.digest(request.URL.Path))
	default:
		http.NotFound(w, request)
	}
}
