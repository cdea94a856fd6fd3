package auth

import (
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/net/publicsuffix"

	"github.com/images-io/tagger/internal/registry/endpoint"
)

func challengeOf(realm string) *ggcr.Challenge {
	return &ggcr.Challenge{Scheme: "Bearer", Parameters: map[string]string{"realm": realm}}
}

func TestRealm_CredentialsOfItsRegistry(t *testing.T) {
	lists := func(address string) bool { return address == "tokens.example.net:443" }
	for _, row := range []struct {
		name, registry, realm string
		want                  bool
	}{
		{name: "the registry itself", registry: "quay.io", realm: "https://quay.io/v2/auth", want: true},
		{name: "the registry itself, with its port", registry: "127.0.0.1:5000", realm: "https://127.0.0.1:5000/token", want: true},
		{name: "Docker Hub's, in the same domain", registry: "index.docker.io", realm: "https://auth.docker.io/token", want: true},
		{name: "GitLab's, in the same domain", registry: "registry.gitlab.com", realm: "https://gitlab.com/jwt/auth", want: true},
		{name: "Alibaba's, in the same domain", registry: "registry.cn-hangzhou.aliyuncs.com", realm: "https://dockerauth.cn-hangzhou.aliyuncs.com/auth", want: true},
		{name: "a known one", registry: "registry.hub.docker.com", realm: "https://auth.docker.io/token", want: true},
		{name: "another known one", registry: "rg.fr-par.scw.cloud", realm: "https://api.scaleway.com/registry-internal/v1/regions/fr-par/tokens", want: true},
		{name: "one that the administrator lists", registry: "registry.example.com", realm: "https://tokens.example.net/token", want: true},
		{name: "another port of one that the administrator lists", registry: "registry.example.com", realm: "https://tokens.example.net:8443/token"},
		{name: "in another domain", registry: "registry.example.com", realm: "https://evil.example.org/token"},
		{name: "a known one of others", registry: "registry.example.com", realm: "https://auth.docker.io/token"},
		{name: "a domain that only ends like the known one's", registry: "evil-docker.com", realm: "https://auth.docker.io/token"},
		{name: "another customer's below a public suffix", registry: "a.co.uk", realm: "https://b.co.uk/token"},
		{name: "another customer's below a private suffix", registry: "a.github.io", realm: "https://b.github.io/token"},
		{name: "a public suffix itself", registry: "github.io", realm: "https://evil.github.io/token"},
		{name: "another port of an address, which may be another user's", registry: "10.0.0.1:5000", realm: "https://10.0.0.1:5001/token"},
		{name: "another address that ends alike", registry: "10.1.0.1", realm: "https://10.2.0.1/token"},
		{name: "another name of a cluster", registry: "registry.default.svc", realm: "https://registry.evil.svc/token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			parsed, err := realmOf(challengeOf(row.realm))
			if err != nil {
				t.Fatal(err)
			}
			if got := parsed.serves(row.registry, lists); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestARealmThatIsNoAddressIsRefused(t *testing.T) {
	for _, realm := range []string{"", "token", "/token", "https://", "ftp://registry.example.com/token", "https://user:password@registry.example.com/token", "https://[::1/token", "javascript:alert(1)"} {
		if _, err := realmOf(challengeOf(realm)); err == nil {
			t.Errorf("%q is taken", realm)
		}
	}
}

// FuzzRealms looks for a foreign token service that would be shown credentials.
func FuzzRealms(f *testing.F) {
	for _, seed := range []string{
		"https://auth.docker.io/token", "https://quay.io@evil.example.org/", "https://evil.example.org/?https://quay.io", "https://QUAY.IO/", "https://quay.io:443/",
		"https://quay.io.evil.example.org/", `https://quay.io\@evil.example.org/`, "https://[::1]:5000/", "https://evil.example.org#quay.io", "https:/quay.io",
	} {
		f.Add("quay.io", seed)
	}
	f.Fuzz(func(t *testing.T, registry, written string) {
		parsed, err := realmOf(challengeOf(written))
		if err != nil || !parsed.serves(registry, func(string) bool { return false }) {
			return
		}
		host, of := strings.ToLower(parsed.address.Hostname()), endpoint.Hostname(strings.ToLower(registry))
		domain, err := publicsuffix.EffectiveTLDPlusOne(of)
		same := err == nil && (host == domain || strings.HasSuffix(host, "."+domain))
		if !same && !isKnownService(of, host) && !strings.EqualFold(parsed.address.Host, registry) {
			t.Errorf("%q is shown the credentials of %q", written, registry)
		}
	})
}
