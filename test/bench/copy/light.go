package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/registry"
)

// lightRegistry is go-containerregistry's registry in the process of the relays. It stands for one on another machine: it uses
// little of the processors here. Unlike distribution's it lists referrers.
type lightRegistry struct {
	server *httptest.Server
	images atomic.Pointer[http.Handler]
}

func newLightRegistry() *lightRegistry {
	r := &lightRegistry{}
	r.clear()
	r.server = httptest.NewServer(r)
	return r
}

// ServeHTTP implements http.Handler.
func (r *lightRegistry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	(*r.images.Load()).ServeHTTP(w, request)
}

// clear removes every image.
func (r *lightRegistry) clear() {
	empty := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	r.images.Store(&empty)
}
