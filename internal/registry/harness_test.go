package registry_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	images "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/transport"
)

// request is what arrived at a registry.
type request struct{ method, host, path, query, authorization, agent, referer string }

// upstream is a registry with its log of requests.
type upstream struct {
	*httptest.Server
	bundle string // a file with its CA
	images http.Handler

	mutex sync.Mutex
	log   []request
}

// names are what every upstream's certificate is good for, beside 127.0.0.1.
var names = []string{"index.docker.io", "registry.example.com", "mirror.example.com", "other.example.com", "sub.registry.example.com", "auth.example.org"}

// newUpstream serves a real registry by TLS. The guard stands in front of it; nil means that everybody may in.
func newUpstream(t *testing.T, guard func(http.Handler) http.Handler) *upstream {
	t.Helper()
	u := newUnstarted(guard)
	certificate, authority := newCertificate(t)
	u.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	u.bundle = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(u.bundle, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	u.StartTLS()
	t.Cleanup(u.Close)
	return u
}

// newPlainUpstream is the same by plain HTTP.
func newPlainUpstream(t *testing.T) *upstream {
	t.Helper()
	return newPlainGuarded(t, nil)
}

func newPlainGuarded(t *testing.T, guard func(http.Handler) http.Handler, options ...images.Option) *upstream {
	t.Helper()
	u := newUnstarted(guard, options...)
	u.Start()
	t.Cleanup(u.Close)
	return u
}

func newUnstarted(guard func(http.Handler) http.Handler, options ...images.Option) *upstream {
	u := &upstream{images: images.New(append(options, images.Logger(log.New(io.Discard, "", 0)))...)}
	handler := u.images
	if guard != nil {
		handler = guard(handler)
	}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mutex.Lock()
		u.log = append(u.log, request{r.Method, r.Host, r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization"), r.UserAgent(), r.Referer()})
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

func (u *upstream) host() string { return u.Listener.Addr().String() }

// push puts an index into the registry, past the guard, and returns its digest.
func (u *upstream) push(t *testing.T, repository, tag, content string) string {
	t.Helper()
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"content":%q}}`, content)
	r := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, strings.NewReader(manifest))
	r.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	w := httptest.NewRecorder()
	u.images.ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		t.Fatalf("pushing %s:%s: %d %s", repository, tag, w.Code, w.Body)
	}
	return digest.FromString(manifest).String()
}

// requests are those whose method and path are as given; empty means any.
func (u *upstream) requests(method, path string) []request {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	var found []request
	for _, r := range u.log {
		if (method == "" || r.method == method) && strings.Contains(r.path, path) {
			found = append(found, r)
		}
	}
	return found
}

func (u *upstream) count(method, path string) int { return len(u.requests(method, path)) }

func (u *upstream) clearLog() {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.log = nil
}

// newClient makes a client that trusts the upstream, which may be nil. The administrator lists the upstream, unless the
// test has a registries.conf of its own.
func newClient(t *testing.T, u *upstream, change ...func(*registry.Options)) *registry.Client {
	t.Helper()
	options := registry.Options{Options: transport.Options{Version: "1.2.3"}}
	for _, apply := range change {
		apply(&options)
	}
	if u != nil {
		options.CABundle = authorities(t, u.bundle)
	}
	if u != nil && options.Configuration == nil {
		listing(t, u.host())(&options)
	}
	return registry.New(options)
}

func authorities(t *testing.T, bundle string) *transport.CABundle {
	t.Helper()
	loaded, err := transport.LoadCABundle(bundle, func(err error) { t.Error(err) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// listing is the option of a registries.conf that lists the hosts, and allows no more than to connect to them.
func listing(t *testing.T, hosts ...string) func(*registry.Options) {
	t.Helper()
	return configuredBy(t, "%s", listed(hosts...))
}

// listed are entries of a registries.conf.
func listed(hosts ...string) string {
	var conf strings.Builder
	for _, host := range hosts {
		fmt.Fprintf(&conf, "[[registry]]\nlocation = %q\n", host)
	}
	return conf.String()
}

// configuredBy is the option of a registries.conf.
func configuredBy(t *testing.T, format string, args ...any) func(*registry.Options) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	configuration, err := registriesconf.Load(path, func(err error) { t.Error(err) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(options *registry.Options) { options.Configuration = configuration }
}

// throughProxy is the option of a proxy that leads every name to the upstream.
func throughProxy(t *testing.T, u *upstream) func(*registry.Options) {
	t.Helper()
	return func(options *registry.Options) {
		proxy := newProxy(t, u)
		options.Proxy = func(*url.URL) (*url.URL, error) { return proxy.address, nil }
	}
}

// proxy leads every name to an upstream, and counts how often it was asked to.
type proxy struct {
	address *url.URL
	asked   atomic.Int32
}

func newProxy(t *testing.T, u *upstream) *proxy {
	t.Helper()
	p := &proxy{}
	plain := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Host = u.host() }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		if r.Method != http.MethodConnect {
			plain.ServeHTTP(w, r)
			return
		}
		inward, err := net.Dial("tcp", u.host())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		outward, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(outward, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(inward, outward); inward.Close() }()
		go func() { _, _ = io.Copy(outward, inward); outward.Close() }()
	}))
	t.Cleanup(server.Close)
	var err error
	if p.address, err = url.Parse(server.URL); err != nil {
		t.Fatal(err)
	}
	return p
}

// resolve asks as the credentials' holder.
func resolve(t *testing.T, client *registry.Client, from string, credentials credentials.Keyring) (string, error) {
	t.Helper()
	source, err := reference.Parse(from, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return client.Resolve(ctx, source, credentials, now())
}

// resolved fails the test when resolving does not give the digest.
func resolved(t *testing.T, client *registry.Client, from string, credentials credentials.Keyring, want string) {
	t.Helper()
	got, err := resolve(t, client, from, credentials)
	if err != nil || got != want {
		t.Fatalf("%s: got %q, %v; want %s", from, got, err, want)
	}
}

// failure is the typed error of resolving.
func failure(t *testing.T, client *registry.Client, from string, credentials credentials.Keyring) *regerr.Error {
	t.Helper()
	got, err := resolve(t, client, from, credentials)
	var typed *regerr.Error
	if !errors.As(err, &typed) {
		t.Fatalf("%s: got %q, %T %v; want a *regerr.Error", from, got, err, err)
	}
	return typed
}

// auths is the pull secret "pull" of the namespace "shop", from host to entry.
func auths(t *testing.T, entries map[string]map[string]string) corev1.Secret {
	t.Helper()
	content, err := json.Marshal(map[string]any{"auths": entries})
	if err != nil {
		t.Fatal(err)
	}
	return secret("pull", corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, string(content))
}

func secret(name string, kind corev1.SecretType, key, content string) corev1.Secret {
	return corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Type: kind, Data: map[string][]byte{key: []byte(content)}}
}

// login is an entry with a user and a password.
func login(user, password string) map[string]string {
	return map[string]string{"username": user, "password": password}
}

// keyring is the keyring of secrets without fault.
func keyring(t *testing.T, secrets ...corev1.Secret) credentials.Keyring {
	t.Helper()
	made, problems := credentials.NewKeyring(secrets)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return made
}

// as is a keyring with one login for the upstream.
func as(t *testing.T, u *upstream, user, password string) credentials.Keyring {
	t.Helper()
	return keyring(t, auths(t, map[string]map[string]string{u.host(): login(user, password)}))
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// refuse answers as a registry does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}})
}

// isPrintable says whether a text is fit for a status.
func isPrintable(text string) bool {
	return len(text) <= 1024 && !bytes.ContainsFunc([]byte(text), func(r rune) bool { return r < ' ' || r == 0x7f })
}

// waiting sets timeouts that a test can wait for.
func waiting(request, header, stall time.Duration) func(*registry.Options) {
	return func(options *registry.Options) {
		options.Timeouts = transport.Timeouts{Request: request, Header: header, Stall: stall}
	}
}

// now returns the options of a caller that wants the digest as it is now.
func now() registry.ResolveOptions {
	return registry.ResolveOptions{NotBefore: time.Now().Add(1000 * time.Hour)}
}

// dialing sets what looks names up, and what is called before a connection is made.
func dialing(resolver *net.Resolver, control func(network, address string, connection syscall.RawConn) error) func(*registry.Options) {
	return func(options *registry.Options) { options.Resolver, options.Control = resolver, control }
}

// insecure returns a registries.conf that lists the hosts as insecure.
func insecure(hosts ...string) string {
	return strings.ReplaceAll(listed(hosts...), "[[registry]]\n", "[[registry]]\ninsecure = true\n")
}
