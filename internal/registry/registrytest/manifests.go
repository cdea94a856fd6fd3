package registrytest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// PutManifest puts a manifest into the registry, past the guard.
func (u *Upstream) PutManifest(t *testing.T, repository, tag, kind, manifest string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, strings.NewReader(manifest))
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	u.Images.ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		t.Fatalf("putting %s:%s: %d %s", repository, tag, w.Code, w.Body)
	}
}

// Serve serves a manifest that the registry would refuse.
func (u *Upstream) Serve(repository, tag, kind, manifest string) {
	next := u.Config.Handler
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/"+repository+"/manifests/"+tag {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, manifest)
	})
}

// Digest returns the digest of the tag.
func (u *Upstream) Digest(t *testing.T, repository, tag string) string {
	t.Helper()
	w := httptest.NewRecorder()
	u.Images.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/v2/"+repository+"/manifests/"+tag, nil))
	return w.Header().Get("Docker-Content-Digest")
}
