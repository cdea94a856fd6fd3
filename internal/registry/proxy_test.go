package registry_test

import (
	"net"
	"net/http"
	"net/netip"
	"testing"

	"golang.org/x/net/http/httpproxy"

	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

// by is the option of a proxy for everything but what noProxy says.
func by(p *registrytest.Proxy, noProxy string) func(*registry.Options) {
	environment := httpproxy.Config{HTTPSProxy: p.Address.String(), HTTPProxy: p.Address.String(), NoProxy: noProxy}
	return func(options *registry.Options) { options.Proxy = environment.ProxyFunc() }
}

func TestProxy_RegistryWithOwnCA(t *testing.T) {
	u := registrytest.NewUpstream(t, newTokens(everybody).guard)
	want := u.Push(t, "team/app", "latest", "one")
	p := registrytest.NewProxy(t, u)
	resolved(t, newClient(t, u, by(p, "")), "registry.example.com/team/app", anonymous, want)
	if p.Asked.Load() == 0 {
		t.Error("the proxy was not asked")
	}
}

func TestProxy_NoProxyChecksTheAddress(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	want := u.Push(t, "team/app", "latest", "one")
	p := registrytest.NewProxy(t, u)
	_, port, _ := net.SplitHostPort(u.Host())
	resolver := nameserver(t, func(int) []netip.Addr { return []netip.Addr{loopback} })
	from := "registry.example.com:" + port
	straight := dialing(resolver, nil)
	resolved(t, newClient(t, u, by(p, "example.com"), straight, listing(t, from)), from+"/team/app", anonymous, want)
	u.ClearLog()
	refusedAt(t, failure(t, newClient(t, u, by(p, "example.com"), straight), from+"/team/app", anonymous), from)
	if count := u.Count("", ""); count != 0 {
		t.Errorf("%d requests arrived", count)
	}
	if asked := p.Asked.Load(); asked != 0 {
		t.Errorf("the proxy was asked %d times", asked)
	}
}

func TestThroughTheProxyHostsAreJudgedByName(t *testing.T) {
	for _, host := range forbidden {
		u := registrytest.NewUpstream(t, answersWith(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+host+"/v2/", http.StatusTemporaryRedirect)
		}))
		p := registrytest.NewProxy(t, u)
		refusedAt(t, failure(t, newClient(t, u, by(p, "")), "registry.example.com/team/app", anonymous), host)
		// The greeting and the question share a connection.
		if asked := p.Asked.Load(); asked != 1 {
			t.Errorf("%s: the proxy was asked %d times", host, asked)
		}
	}
}

func TestWhereTheProxyIsNobodyGetsByNamingIt(t *testing.T) {
	p := registrytest.NewProxy(t, registrytest.NewUpstream(t, nil))
	refusedAt(t, failure(t, newClient(t, nil, by(p, "")), p.Address.Host+"/team/app", anonymous), p.Address.Host)
	if asked := p.Asked.Load(); asked != 0 {
		t.Errorf("the proxy was asked %d times", asked)
	}
}
