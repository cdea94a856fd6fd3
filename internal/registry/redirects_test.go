package registry_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

func TestFiveRedirectsAreFollowedAndNoMore(t *testing.T) {
	// A question is redirected as often as its tag says, and "loop" for ever.
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path, tag, _ := strings.Cut(r.URL.Path, "/manifests/")
			left, err := strconv.Atoi(tag)
			switch {
			case tag == "loop":
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			case err == nil && left > 0:
				http.Redirect(w, r, path+"/manifests/"+strconv.Itoa(left-1), http.StatusTemporaryRedirect)
			default:
				next.ServeHTTP(w, r)
			}
		})
	})
	want := u.Push(t, "team/app", "0", "one")
	client := newClient(t, u)
	resolved(t, client, u.Host()+"/team/app:5", anonymous, want)
	for _, tag := range []string{"6", "loop"} {
		u.ClearLog()
		got := failure(t, client, u.Host()+"/team/app:"+tag, anonymous)
		if got.Reason() != v1.ReasonUnavailable || !strings.Contains(got.Error(), "redirects more than 5 times") {
			t.Errorf("%s: %s %v", tag, got.Reason(), got)
		}
		if count := u.Count("", "/manifests/"); count != 6 {
			t.Errorf("%s: %d requests, want the question and 5 redirects", tag, count)
		}
	}
}

func TestRedirect_EndlessPingAndToken(t *testing.T) {
	for _, loop := range []string{"/v2/", "/token"} {
		u := registrytest.NewUpstream(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == loop {
					http.Redirect(w, r, loop, http.StatusFound)
					return
				}
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/token",service="test"`, r.Host))
				w.WriteHeader(http.StatusUnauthorized)
			})
		})
		got := failure(t, newClient(t, u), u.Host()+"/team/app", anonymous)
		if got.Reason() != v1.ReasonUnavailable || !strings.Contains(got.Error(), "redirects more than 5 times") {
			t.Errorf("%s: %s %v", loop, got.Reason(), got)
		}
		if count := u.Count("", loop); count != 6 {
			t.Errorf("%s: %d requests, want 6", loop, count)
		}
	}
}

func TestACredentialStaysAtItsHost(t *testing.T) {
	const password = "s3cret"
	for _, row := range []struct {
		name, scheme string
		entry        map[string]string
		// shown is what the registry itself must see, so that the test sees something.
		shown string
	}{
		{name: "a password", scheme: "Basic", entry: login("robot", password), shown: basic("robot", password)},
		{name: "a registry token", scheme: "Bearer", entry: map[string]string{"registrytoken": password}, shown: "Bearer " + password},
		{name: "a token from the token service", scheme: "Bearer", entry: login("robot", password), shown: "Bearer given"},
	} {
		for _, to := range []string{"other.example.com", "sub.registry.example.com", "auth.example.org", "registry.example.com:8443"} {
			t.Run(row.name+" to "+to, func(t *testing.T) {
				u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						switch {
						case r.Host != "registry.example.com":
							next.ServeHTTP(w, r)
						case r.URL.Path == "/token":
							_, _ = io.WriteString(w, `{"token":"given"}`)
						case r.Header.Get("Authorization") == row.shown:
							http.Redirect(w, r, "https://"+to+r.URL.Path, http.StatusTemporaryRedirect)
						default:
							w.Header().Set("WWW-Authenticate", row.scheme+` realm="https://registry.example.com/token",service="test"`)
							w.WriteHeader(http.StatusUnauthorized)
						}
					})
				})
				want := u.Push(t, "team/app", "latest", "one")
				credentials := keyring(t, auths(t, map[string]map[string]string{"registry.example.com": row.entry}))
				resolved(t, newClient(t, u, throughProxy(t, u)), "registry.example.com/team/app", credentials, want)
				neverShown(t, u, "registry.example.com")
			})
		}
	}
}

func TestARedirectBringsNoCredentialOfItsOwn(t *testing.T) {
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "registry.example.com" && strings.Contains(r.URL.Path, "/manifests/") {
				http.Redirect(w, r, "https://robot:s3cret@other.example.com"+r.URL.Path, http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	u.Push(t, "team/app", "latest", "one")
	got := failure(t, newClient(t, u, throughProxy(t, u)), "registry.example.com/team/app", anonymous)
	if got.Reason() != v1.ReasonUnavailable || !strings.Contains(got.Error(), "a credential of its own") || strings.Contains(got.Error(), "s3cret") {
		t.Errorf("%s %v", got.Reason(), got)
	}
	for _, r := range u.Requests("", "") {
		if r.Host == "other.example.com" {
			t.Errorf("%s was asked, and shown %q", r.Host, r.Authorization)
		}
	}
}

// neverShown fails the test when any host but these was shown an Authorization, or a Referer.
func neverShown(t *testing.T, u *registrytest.Upstream, but ...string) {
	t.Helper()
	elsewhere := 0
	for _, r := range u.Requests("", "") {
		if strings.Contains(" "+strings.Join(but, " ")+" ", " "+r.Host+" ") {
			continue
		}
		elsewhere++
		if r.Authorization != "" || r.Referer != "" {
			t.Errorf("%s was shown %q, from %q", r.Host, r.Authorization, r.Referer)
		}
	}
	if elsewhere == 0 {
		t.Error("no other host got a request, so the test shows nothing")
	}
}

func TestRealm_IdentityTokenNotRedirected(t *testing.T) {
	u := registrytest.NewUpstream(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				http.Redirect(w, r, "https://auth.example.org/token", http.StatusTemporaryRedirect)
				return
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://registry.example.com/token",service="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		})
	})
	credentials := keyring(t, auths(t, map[string]map[string]string{"registry.example.com": {"identitytoken": "s3cret"}}))
	got := failure(t, newClient(t, u, throughProxy(t, u)), "registry.example.com/team/app", credentials)
	if got.Reason() != v1.ReasonUnavailable || !strings.Contains(got.Error(), "refusing to forward") {
		t.Errorf("%s %v", got.Reason(), got)
	}
	for _, r := range u.Requests(http.MethodPost, "") {
		if r.Host != "registry.example.com" {
			t.Errorf("the identity token was posted to %s", r.Host)
		}
	}
}

func TestRealm_OwnTokenService(t *testing.T) {
	for _, row := range []struct {
		name, realm, conf string
		shown             bool
		reason            v1.Reason
	}{
		{name: "on the same host", realm: "https://registry.example.com/token", shown: true},
		{name: "in the same domain", realm: "https://other.example.com/token", shown: true},
		{name: "in another that the administrator lists", realm: "https://auth.example.org/token", conf: registrytest.Listed("auth.example.org"), shown: true},
		{name: "in another domain", realm: "https://auth.example.org/token", reason: v1.ReasonUnauthorized},
		{name: "in another that the administrator lists with another port", realm: "https://auth.example.org/token", conf: registrytest.Listed("auth.example.org:8443"), reason: v1.ReasonUnauthorized},
		{name: "by plain HTTP", realm: "http://registry.example.com/token", reason: v1.ReasonRefusedByPolicy},
	} {
		t.Run(row.name, func(t *testing.T) {
			service := newTokens(func(user, _ string) bool { return user == "robot" })
			service.users = map[string]string{"robot": "s3cret"}
			u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
				guarded := service.guard(next)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/token" && !service.admits(r) {
						w.Header().Set("WWW-Authenticate", `Bearer realm="`+row.realm+`",service="test"`)
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					guarded.ServeHTTP(w, r)
				})
			})
			want := u.Push(t, "team/app", "latest", "one")
			credentials := keyring(t, auths(t, map[string]map[string]string{"registry.example.com": login("robot", "s3cret")}))
			client := newClient(t, u, throughProxy(t, u), configuredBy(t, "%s", row.conf))
			if row.shown {
				resolved(t, client, "registry.example.com/team/app", credentials, want)
				return
			}
			got := failure(t, client, "registry.example.com/team/app", credentials)
			if got.Reason() != row.reason || !strings.Contains(got.Error(), "registries.conf") {
				t.Errorf("%s %v", got.Reason(), got)
			}
			for _, r := range u.Requests("", "/token") {
				if r.Authorization != "" {
					t.Errorf("%s was shown %q", r.Host, r.Authorization)
				}
			}
			if row.reason == v1.ReasonUnauthorized && (u.Count("", "/token") == 0 || !strings.Contains(got.Error(), "not shown to auth.example.org")) {
				t.Errorf("asked for a token %d times: %v", u.Count("", "/token"), got)
			}
		})
	}
}
