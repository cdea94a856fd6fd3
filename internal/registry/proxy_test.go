package registry_test

import (
	"net"
	"net/http"
	"net/netip"
	"testing"

	"golang.org/x/net/http/httpproxy"

	"github.com/images-io/tagger/internal/registry"
)

// by is the option of a proxy for everything but what noProxy says.
func (p *proxy) by(noProxy string) func(*registry.Options) {
	environment := httpproxy.Config{HTTPSProxy: p.address.String(), HTTPProxy: p.address.String(), NoProxy: noProxy}
	return func(options *registry.Options) { options.Proxy = environment.ProxyFunc() }
}

func TestProxy_RegistryWithOwnCA(t *testing.T) {
	u := newUpstream(t, newTokens(everybody).guard)
	want := u.push(t, "team/app", "latest", "one")
	p := newProxy(t, u)
	resolved(t, newClient(t, u, p.by("")), "registry.example.com/team/app", anonymous, want)
	if p.asked.Load() == 0 {
		t.Error("the proxy was not asked")
	}
}

func TestProxy_NoProxyChecksTheAddress(t *testing.T) {
	u := newUpstream(t, nil)
	want := u.push(t, "team/app", "latest", "one")
	p := newProxy(t, u)
	_, port, _ := net.SplitHostPort(u.host())
	resolver := nameserver(t, func(int) []netip.Addr { return []netip.Addr{loopback} })
	from := "registry.example.com:" + port
	straight := dialing(resolver, nil)
	resolved(t, newClient(t, u, p.by("example.com"), straight, listing(t, from)), from+"/team/app", anonymous, want)
	u.clearLog()
	refusedAt(t, failure(t, newClient(t, u, p.by("example.com"), straight), from+"/team/app", anonymous), from)
	if count := u.count("", ""); count != 0 {
		t.Errorf("%d requests arrived", count)
	}
	if asked := p.asked.Load(); asked != 0 {
		t.Errorf("the proxy was asked %d times", asked)
	}
}

func TestThroughTheProxyHostsAreJudgedByName(t *testing.T) {
	for _, host := range forbidden {
		u := newUpstream(t, answersWith(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+host+"/v2/", http.StatusTemporaryRedirect)
		}))
		p := newProxy(t, u)
		refusedAt(t, failure(t, newClient(t, u, p.by("")), "registry.example.com/team/app", anonymous), host)
		// The greeting and the question share a connection.
		if asked := p.asked.Load(); asked != 1 {
			t.Errorf("%s: the proxy was asked %d times", host, asked)
		}
	}
}

func TestWhereTheProxyIsNobodyGetsByNamingIt(t *testing.T) {
	p := newProxy(t, newUpstream(t, nil))
	refusedAt(t, failure(t, newClient(t, nil, p.by("")), p.address.Host+"/team/app", anonymous), p.address.Host)
	if asked := p.asked.Load(); asked != 0 {
		t.Errorf("the proxy was asked %d times", asked)
	}
}
