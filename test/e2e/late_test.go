package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/images-io/tagger/test/ledger"
)

// lateRegistry is in front of a registry and serves, for a while, the previous image of a tag.
type lateRegistry struct {
	*httptest.Server
	address string

	mu     sync.Mutex
	hidden map[string]hidden // by namespace
}

// hidden is the image that a namespace gets until then.
type hidden struct {
	digest string
	until  time.Time
}

func newLateRegistry(registry string) *lateRegistry {
	r := &lateRegistry{hidden: map[string]hidden{}}
	behind := ledger.Behind(registry)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		for namespace, image := range r.hidden {
			if strings.HasPrefix(request.URL.Path, "/v2/"+namespace+"/") && time.Now().Before(image.until) {
				request.URL.Path = strings.Replace(request.URL.Path, "/manifests/latest", "/manifests/"+image.digest, 1)
			}
		}
		r.mu.Unlock()
		behind.ServeHTTP(w, request)
	}))
	r.address = r.Listener.Addr().String()
	return r
}

// hide serves the image of the digest in place of the newest one of a namespace.
func (r *lateRegistry) hide(namespace, digest string, lasts time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hidden[namespace] = hidden{digest, time.Now().Add(lasts)}
}

func (r *lateRegistry) stop() error {
	r.CloseClientConnections()
	r.Close()
	return nil
}
