package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	images "github.com/google/go-containerregistry/pkg/registry"
)

// tokenLife is the lifetime of tokens, as at Docker Hub.
const tokenLife = 5 * time.Minute

// guardedRegistry is a registry that requires tokens (distribution's token authentication), issues them itself, and counts.
type guardedRegistry struct {
	server *httptest.Server
	images http.Handler
	// all are the requests, including those for tokens and for /v2/; heads and pulls are those for manifests.
	all, heads, pulls atomic.Int64
}

func newGuardedRegistry() *guardedRegistry {
	r := &guardedRegistry{images: images.New(images.Logger(log.New(io.Discard, "", 0)))}
	r.server = httptest.NewServer(r)
	return r
}

// address is host:port.
func (r *guardedRegistry) address() string { return r.server.Listener.Addr().String() }

// push puts an index into the registry, without a token.
func (r *guardedRegistry) push(repository, tag string) error {
	const index = "application/vnd.oci.image.index.v1+json"
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"tag":%q}}`, index, tag)
	request := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, strings.NewReader(manifest))
	request.Header.Set("Content-Type", index)
	answer := httptest.NewRecorder()
	if r.images.ServeHTTP(answer, request); answer.Code != http.StatusCreated {
		return fmt.Errorf("pushing %s:%s: %d %s", repository, tag, answer.Code, answer.Body)
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (r *guardedRegistry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.count(request)
	switch {
	case request.URL.Path == "/token":
		_ = json.NewEncoder(w).Encode(map[string]any{"token": request.URL.Query().Get("scope"), "expires_in": int(tokenLife.Seconds())})
	case r.admits(request):
		r.images.ServeHTTP(w, request)
	default:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="bench"`, request.Host))
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// admits reports whether the token, which is its scope, is for the repository.
func (r *guardedRegistry) admits(request *http.Request) bool {
	scope := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
	repository := strings.TrimSuffix(strings.TrimPrefix(scope, "repository:"), ":pull")
	return repository != "" && strings.HasPrefix(request.URL.Path, "/v2/"+repository+"/")
}

func (r *guardedRegistry) count(request *http.Request) {
	r.all.Add(1)
	if !strings.Contains(request.URL.Path, "/manifests/") {
		return
	}
	if request.Method == http.MethodHead {
		r.heads.Add(1)
	} else {
		r.pulls.Add(1)
	}
}
