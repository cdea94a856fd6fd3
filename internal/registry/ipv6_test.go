package registry_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

// newUpstream6 is an upstream at an IPv6 address. Its guard takes alice only.
func newUpstream6(t *testing.T) *registrytest.Upstream {
	t.Helper()
	service := newTokens(func(user, _ string) bool { return user == "alice" })
	service.users["alice"] = "p"
	u := registrytest.NewUpstream(t, service.guard)
	_, port, err := net.SplitHostPort(u.Host())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("::1", port))
	if err != nil {
		t.Fatal(err)
	}
	go u.Config.Serve(tls.NewListener(listener, u.TLS)) //nolint:errcheck // it ends with the upstream
	return u
}

// TestARegistryMayBeAnIPv6Address as prefix, as location and as mirror, with credentials.
func TestARegistryMayBeAnIPv6Address(t *testing.T) {
	u := newUpstream6(t)
	_, port, _ := net.SplitHostPort(u.Host())
	host := net.JoinHostPort("::1", port)
	want := u.Push(t, "team/app", "latest", "one")
	for name, row := range map[string]struct{ conf, from string }{
		"listed":              {"[[registry]]\nlocation = \"HOST\"\n", host + "/team/app"},
		"as prefix":           {"[[registry]]\nprefix = \"HOST/old\"\nlocation = \"HOST/team\"\n", host + "/old/app"},
		"as location":         {"[[registry]]\nprefix = \"quay.io\"\nlocation = \"HOST\"\n", "quay.io/team/app"},
		"of a wildcard":       {"[[registry]]\nprefix = \"*.example.com\"\nlocation = \"HOST/team\"\n", "a.example.com/app"},
		"as mirror":           {"[[registry]]\nlocation = \"registry.invalid\"\n[[registry.mirror]]\nlocation = \"HOST\"\n", "registry.invalid/team/app"},
		"as mirror by digest": {"[[registry]]\nlocation = \"registry.invalid\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"HOST\"\n", "registry.invalid/team/app@" + want},
		"of digests and tags": {"[[registry]]\nlocation = \"registry.invalid\"\n[[registry.mirror]]\nlocation = \"none.invalid\"\npull-from-mirror = \"digest-only\"\n[[registry.mirror]]\nlocation = \"HOST\"\npull-from-mirror = \"tag-only\"\n", "registry.invalid/team/app"},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, u, configuredBy(t, "%s", strings.ReplaceAll(row.conf, "HOST", host)))
			credentials := keyring(t, auths(t, map[string]map[string]string{host: login("alice", "p")}))
			resolved(t, client, row.from, credentials, want)
		})
	}
	s := newStage(t, u, registrytest.NewPlainUpstream(t))
	s.client = newClient(t, u, listing(t, host))
	digest := u.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 100))
	s.copied(s.order(digest, func(order *registry.CopyRequest) {
		order.Source = source(t, host+"/team/app:latest")
		order.Keyring = keyring(t, auths(t, map[string]map[string]string{host: login("alice", "p")}))
	}))
	s.isWhole("cache/shop/app", "0", digest)
}
