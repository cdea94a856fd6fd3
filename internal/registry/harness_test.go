package registry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/registrytest"
	"github.com/images-io/tagger/internal/registry/transport"
)

// newClient makes a client that trusts the upstream, which may be nil. The administrator lists the upstream, unless the
// test has a registries.conf of its own.
func newClient(t *testing.T, u *registrytest.Upstream, change ...func(*registry.Options)) *registry.Client {
	t.Helper()
	options := registry.Options{Options: transport.Options{Version: "1.2.3"}}
	for _, apply := range change {
		apply(&options)
	}
	if u != nil {
		options.CABundle = authorities(t, u.Bundle)
	}
	if u != nil && options.Configuration == nil {
		listing(t, u.Host())(&options)
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
	return configuredBy(t, "%s", registrytest.Listed(hosts...))
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
func throughProxy(t *testing.T, u *registrytest.Upstream) func(*registry.Options) {
	t.Helper()
	return func(options *registry.Options) {
		proxy := registrytest.NewProxy(t, u)
		options.Proxy = func(*url.URL) (*url.URL, error) { return proxy.Address, nil }
	}
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
func as(t *testing.T, u *registrytest.Upstream, user, password string) credentials.Keyring {
	t.Helper()
	return keyring(t, auths(t, map[string]map[string]string{u.Host(): login(user, password)}))
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
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
