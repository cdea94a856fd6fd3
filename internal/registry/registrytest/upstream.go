package registrytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	images "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
)

// Request is a request that a registry received.
type Request struct{ Method, Host, Path, Query, Authorization, Agent, Referer string }

// Upstream is an in-process registry with a log of its requests. A guard may respond before the registry does.
type Upstream struct {
	*httptest.Server
	// Bundle is the path of a file with the CA of its certificate.
	Bundle string
	// Images is the registry past the guard and the log.
	Images http.Handler

	mutex sync.Mutex
	log   []Request
}

// names are the hosts of each upstream's certificate, besides 127.0.0.1.
var names = []string{"index.docker.io", "registry.example.com", "mirror.example.com", "other.example.com", "sub.registry.example.com", "auth.example.org"}

// NewUpstream starts a registry with TLS. A nil guard lets all requests pass.
func NewUpstream(t *testing.T, guard func(http.Handler) http.Handler) *Upstream {
	t.Helper()
	u := newUnstarted(guard)
	certificate, authority := newCertificate(t)
	u.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	u.Bundle = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(u.Bundle, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	u.StartTLS()
	t.Cleanup(u.Close)
	return u
}

// NewPlainUpstream starts a registry with plain HTTP and without a guard.
func NewPlainUpstream(t *testing.T) *Upstream {
	t.Helper()
	return NewPlainGuarded(t, nil)
}

// NewPlainGuarded starts a registry with plain HTTP. A nil guard lets all requests pass.
func NewPlainGuarded(t *testing.T, guard func(http.Handler) http.Handler, options ...images.Option) *Upstream {
	t.Helper()
	u := newUnstarted(guard, options...)
	u.Start()
	t.Cleanup(u.Close)
	return u
}

func newUnstarted(guard func(http.Handler) http.Handler, options ...images.Option) *Upstream {
	u := &Upstream{Images: images.New(append(options, images.Logger(log.New(io.Discard, "", 0)))...)}
	handler := u.Images
	if guard != nil {
		handler = guard(handler)
	}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mutex.Lock()
		u.log = append(u.log, Request{r.Method, r.Host, r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization"), r.UserAgent(), r.Referer()})
		u.mutex.Unlock()
		handler.ServeHTTP(w, r)
	}))
	u.Config.ErrorLog = log.New(io.Discard, "", 0)
	return u
}

func newCertificate(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Host returns the host and the port.
func (u *Upstream) Host() string { return u.Listener.Addr().String() }

// Push puts an index into the registry, past the guard, and returns its digest.
func (u *Upstream) Push(t *testing.T, repository, tag, content string) string {
	t.Helper()
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"content":%q}}`, content)
	r := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, strings.NewReader(manifest))
	r.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	w := httptest.NewRecorder()
	u.Images.ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		t.Fatalf("pushing %s:%s: %d %s", repository, tag, w.Code, w.Body)
	}
	return digest.FromString(manifest).String()
}

// Requests returns the requests with this method whose path contains path; empty means any.
func (u *Upstream) Requests(method, path string) []Request {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	var found []Request
	for _, r := range u.log {
		if (method == "" || r.Method == method) && strings.Contains(r.Path, path) {
			found = append(found, r)
		}
	}
	return found
}

// Count returns the number of requests that Requests returns.
func (u *Upstream) Count(method, path string) int { return len(u.Requests(method, path)) }

// ClearLog forgets the requests.
func (u *Upstream) ClearLog() {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.log = nil
}
