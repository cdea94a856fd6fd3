package registry_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

// admitting lets those in who show one of these Authorization headers.
func admitting(headers ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, header := range headers {
				if r.Header.Get("Authorization") == header {
					next.ServeHTTP(w, r)
					return
				}
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			registrytest.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		})
	}
}

func TestEveryKindOfSecretIsRead(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("robot:s3cret"))
	config := func(host, entry string) string { return fmt.Sprintf(`{"auths":{%q:%s}}`, host, entry) }
	for _, row := range []struct {
		name    string
		kind    corev1.SecretType
		key     string
		content func(host string) string
		shown   string
	}{
		{name: "username and password", content: func(host string) string {
			return config(host, `{"username":"robot","password":"s3cret","email":"r@example.com"}`)
		}},
		{name: "only auth", content: func(host string) string { return config(host, `{"auth":"`+encoded+`"}`) }},
		{name: "only auth, without padding", content: func(host string) string {
			return config(host, `{"auth":"`+strings.TrimRight(encoded, "=")+`"}`)
		}},
		{name: "auth beside another password, which docker does not look at", content: func(host string) string {
			return config(host, `{"auth":"`+encoded+`","username":"robot","password":"old"}`)
		}},
		{name: "a registry token", content: func(host string) string { return config(host, `{"registrytoken":"t0ken"}`) }, shown: "Bearer t0ken"},
		{name: "a key with a scheme", content: func(host string) string { return config("https://"+host, `{"auth":"`+encoded+`"}`) }},
		{name: "a key with a scheme and a path of the protocol", content: func(host string) string {
			return config("https://"+host+"/v2/", `{"auth":"`+encoded+`"}`)
		}},
		{name: "a dockercfg", kind: corev1.SecretTypeDockercfg, key: corev1.DockerConfigKey, content: func(host string) string {
			return fmt.Sprintf(`{%q:{"auth":%q}}`, host, encoded)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			kind, key, shown := row.kind, row.key, row.shown
			if kind == "" {
				kind, key = corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey
			}
			if shown == "" {
				shown = basic("robot", "s3cret")
			}
			u := registrytest.NewUpstream(t, admitting(shown))
			want := u.Push(t, "team/app", "latest", "one")
			resolved(t, newClient(t, u), u.Host()+"/team/app", keyring(t, secret("pull", kind, key, row.content(u.Host()))), want)
		})
	}
}

func TestAnIdentityTokenIsExchanged(t *testing.T) {
	service := newTokens(func(user, _ string) bool { return user == "by identity" })
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		inner := service.guard(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/token" {
				inner.ServeHTTP(w, r)
				return
			}
			if r.Method != http.MethodPost || r.PostFormValue("refresh_token") != "identity" {
				registrytest.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "no identity")
				return
			}
			service.mutex.Lock()
			service.issued["access"] = token{user: "by identity", scopes: []string{r.PostFormValue("scope")}, at: service.clock.Now()}
			service.mutex.Unlock()
			_ = json.NewEncoder(w).Encode(map[string]string{"access_token": "access"})
		})
	})
	want := u.Push(t, "team/app", "latest", "one")
	credentials := keyring(t, auths(t, map[string]map[string]string{u.Host(): {"identitytoken": "identity"}}))
	resolved(t, newClient(t, u), u.Host()+"/team/app", credentials, want)
}

func TestAMalformedSecretSpoilsNothingElse(t *testing.T) {
	const planted = "hunter2-planted"
	good := `"auth":"` + base64.StdEncoding.EncodeToString([]byte("robot:s3cret")) + `"`
	for _, row := range []struct{ name, content, key, want string }{
		{name: "no JSON", content: planted, want: "no Docker configuration in JSON"},
		{name: "JSON of another shape", content: `{"auths":"` + planted + `"}`, want: "no Docker configuration in JSON"},
		{name: "no such key", key: planted, want: "has no key .dockerconfigjson"},
		{name: "an entry that is no object", content: `{"auths":{"quay.io":"` + planted + `"}}`, want: "1 of 1 entries"},
		{name: "an auth that is no base64", content: `{"auths":{"quay.io":{"auth":"!` + planted + `"}}}`, want: "base64"},
		{name: "an auth without a password", content: `{"auths":{"quay.io":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(planted)) + `"}}}`, want: "user:password"},
		{name: "an entry that holds nothing", content: `{"auths":{"quay.io":{}}}`, want: "no credential"},
		{name: "a key that is no host", content: `{"auths":{"` + planted + `@quay.io":{` + good + `}}}`, want: "no host"},
		{name: "a host that is no pattern", content: `{"auths":{"[a.` + planted + `":{` + good + `}}}`, want: "no host"},
		{name: "one bad entry beside a good one", content: `{"auths":{"HOST":{` + good + `},"quay.io":{"auth":"!` + planted + `"}}}`, want: "1 of 2 entries"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, admitting(basic("robot", "s3cret")))
			want := u.Push(t, "team/app", "latest", "one")
			key := row.key
			if key == "" {
				key = corev1.DockerConfigJsonKey
			}
			bad := secret("broken", corev1.SecretTypeDockerConfigJson, key, strings.Replace(row.content, "HOST", u.Host(), 1))
			secrets := []corev1.Secret{bad}
			if !strings.Contains(row.content, "HOST") {
				secrets = append(secrets, auths(t, map[string]map[string]string{u.Host(): login("robot", "s3cret")}))
			}
			credentials, problems := credentials.NewKeyring(secrets)
			resolved(t, newClient(t, u), u.Host()+"/team/app", credentials, want)
			if len(problems) != 1 {
				t.Fatalf("%d problems: %v", len(problems), problems)
			}
			text := problems[0].Error()
			if !strings.Contains(text, "shop/broken") || !strings.Contains(text, row.want) || strings.Contains(text, planted) {
				t.Errorf("the problem is %q, want the secret's name and %q, and nothing of its content", text, row.want)
			}
		})
	}
}

func TestOtherSecretsAreLeftOut(t *testing.T) {
	credentials, problems := credentials.NewKeyring([]corev1.Secret{secret("tls", corev1.SecretTypeTLS, "tls.key", "x")})
	if len(problems) > 0 || fmt.Sprint(credentials) != "0 credentials" {
		t.Errorf("%v, %v", credentials, problems)
	}
}

func TestAKeyringFormatsAsACount(t *testing.T) {
	credentials := keyring(t, auths(t, map[string]map[string]string{"quay.io": login("robot", "hunter2")}))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if text := fmt.Sprintf(verb, credentials); text != "1 credential" {
			t.Errorf("%s writes %q", verb, text)
		}
	}
}

func TestKeyring_MatchingOnly(t *testing.T) {
	const from = "registry.example.com/team/app"
	for _, row := range []struct {
		name, key, from string
		used            bool
	}{
		{name: "the host", key: "registry.example.com", used: true},
		{name: "the host in capitals", key: "Registry.Example.COM", used: true},
		{name: "the path", key: "registry.example.com/team", used: true},
		{name: "the path with a slash", key: "https://registry.example.com/team/", used: true},
		{name: "the repository", key: "registry.example.com/team/app", used: true},
		{name: "a wildcard", key: "*.example.com", used: true},
		{name: "half a segment", key: "registry.example.com/team/ap"},
		{name: "a path that only begins the same", key: "registry.example.com/team", from: "registry.example.com/team-evil/app"},
		{name: "a longer path", key: "registry.example.com/team/app/web"},
		{name: "another host", key: "other.example.com"},
		{name: "a host that ends the same", key: "example.com"},
		{name: "a wildcard of two labels", key: "*.com"},
		{name: "another port", key: "registry.example.com:8443"},
		{name: "no port for a port", key: "registry.example.com", from: "registry.example.com:8443/team/app"},
		{name: "the port", key: "registry.example.com:8443", from: "registry.example.com:8443/team/app", used: true},
		{name: "Docker Hub as docker login writes it", key: "https://index.docker.io/v1/", from: "nginx", used: true},
		{name: "Docker Hub by its short name", key: "docker.io", from: "nginx", used: true},
		{name: "Docker Hub by its index", key: "index.docker.io", from: "docker.io/library/nginx", used: true},
		{name: "Docker Hub by its registry", key: "registry-1.docker.io", from: "nginx", used: true},
		{name: "a path of Docker Hub", key: "docker.io/library", from: "nginx", used: true},
		{name: "another path of Docker Hub", key: "docker.io/company", from: "nginx"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, nil)
			image := from
			if row.from != "" {
				image = row.from
			}
			for _, repository := range []string{"team/app", "team-evil/app", "library/nginx"} {
				u.Push(t, repository, "latest", "one")
			}
			credentials := keyring(t, auths(t, map[string]map[string]string{row.key: login("robot", "s3cret")}))
			if _, err := resolve(t, newClient(t, u, throughProxy(t, u)), image, credentials); err != nil {
				t.Fatal(err)
			}
			used := false
			for _, r := range u.Requests("", "") {
				used = used || r.Authorization != ""
			}
			if used != row.used {
				t.Errorf("the credential was used: %v, want %v", used, row.used)
			}
		})
	}
}

func TestTheMostSpecificCredentialComesFirst(t *testing.T) {
	u := registrytest.NewUpstream(t, admitting(basic("team", "t")))
	want := u.Push(t, "team/app", "latest", "one")
	credentials := keyring(t, auths(t, map[string]map[string]string{
		u.Host():           login("host", "h"),
		u.Host() + "/team": login("team", "t"),
	}))
	resolved(t, newClient(t, u), u.Host()+"/team/app", credentials, want)
	for _, r := range u.Requests("", "") {
		if r.Authorization == basic("host", "h") {
			t.Error("the host's credential was tried before the path's")
		}
	}
}

func TestKeyring_Order(t *testing.T) {
	one := func(t *testing.T, u *registrytest.Upstream, user string) corev1.Secret {
		return auths(t, map[string]map[string]string{u.Host(): login(user, "p")})
	}
	for _, row := range []struct {
		name     string
		users    []string
		admitted string
		text     string
		// tried is how many different logins the registry sees.
		tried int
	}{
		{name: "the second one is let in", users: []string{"a", "b"}, admitted: basic("b", "p"), tried: 2},
		{name: "none is needed", users: []string{"a"}, admitted: "", tried: 1},
		{name: "the same one twice counts once", users: []string{"a", "a", "b", "c"}, admitted: basic("c", "p"), tried: 3},
		{name: "no login is admitted", users: []string{"a", "b"}, admitted: "no login", text: "tried with 2 credentials and anonymously", tried: 2},
		{name: "only three are tried", users: []string{"a", "b", "c", "d"}, admitted: basic("d", "p"), text: "tried with 3 credentials and anonymously", tried: 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, admitting(row.admitted))
			want := u.Push(t, "team/app", "latest", "one")
			var secrets []corev1.Secret
			for _, user := range row.users {
				secrets = append(secrets, one(t, u, user))
			}
			client := newClient(t, u)
			if row.text == "" {
				resolved(t, client, u.Host()+"/team/app", keyring(t, secrets...), want)
			} else if got := failure(t, client, u.Host()+"/team/app", keyring(t, secrets...)); got.Reason() != v1.ReasonUnauthorized || !strings.Contains(got.Error(), row.text) {
				t.Errorf("%s %v", got.Reason(), got)
			}
			logins := map[string]bool{}
			for _, r := range u.Requests("", "") {
				if r.Authorization != "" {
					logins[r.Authorization] = true
				}
			}
			if len(logins) != row.tried {
				t.Errorf("%d logins were tried, want %d", len(logins), row.tried)
			}
		})
	}
}

func TestWhoWasLetInIsAskedFirstTheNextTime(t *testing.T) {
	u := registrytest.NewUpstream(t, admitting(basic("b", "p")))
	want := u.Push(t, "team/app", "latest", "one")
	client := newClient(t, u)
	credentials := keyring(t,
		auths(t, map[string]map[string]string{u.Host(): login("a", "p")}),
		auths(t, map[string]map[string]string{u.Host(): login("b", "p")}))
	resolved(t, client, u.Host()+"/team/app", credentials, want)
	u.ClearLog()
	resolved(t, client, u.Host()+"/team/app", credentials, want)
	if all := u.Requests("", ""); len(all) != 1 || all[0].Authorization != basic("b", "p") {
		t.Errorf("the second time took %v", all)
	}
}

func TestKeyring_ReportsRefusedCredential(t *testing.T) {
	u := registrytest.NewUpstream(t, admitting(""))
	got := failure(t, newClient(t, u), u.Host()+"/team/app", as(t, u, "a", "p"))
	if got.Reason() != v1.ReasonNotFound || !strings.Contains(got.Error(), "had refused 1 credential") {
		t.Errorf("%s %v", got.Reason(), got)
	}
}

// entriesUpTo is a secret of so many bytes: entries for the hosts that the pattern makes of a number.
func entriesUpTo(size int, host func(int) string) corev1.Secret {
	var content strings.Builder
	content.WriteString(`{"auths":{`)
	for i := 0; content.Len() < size-100; i++ {
		if i > 0 {
			content.WriteByte(',')
		}
		auth := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d:p", i))
		fmt.Fprintf(&content, `%q:{"auth":%q}`, host(i), auth)
	}
	content.WriteString("}}")
	return secret("pull", corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, content.String())
}

// TestOfManyEntriesAFewAreKept: an import holds them while it waits for its registry, and a copy until its end.
func TestOfManyEntriesAFewAreKept(t *testing.T) {
	u := registrytest.NewUpstream(t, admitting(basic("robot", "s3cret")))
	want := u.Push(t, "team/app", "latest", "one")
	good := auths(t, map[string]map[string]string{u.Host() + "/team": login("robot", "s3cret")})
	host, port, _ := strings.Cut(u.Host(), ":")
	for _, row := range []struct {
		name string
		host func(int) string
		kept string
	}{
		{name: "of other hosts", host: func(i int) string { return fmt.Sprintf("r%d.example.com", i) }, kept: "1 credential"},
		{name: "of other paths", host: func(i int) string { return fmt.Sprintf("%s/p%d", u.Host(), i) }, kept: "1 credential"},
		{name: "of patterns that all match", kept: "3 credentials", host: func(i int) string {
			return strings.Replace(host, ".", strings.Repeat("*", i%60)+".", 1) + ":" + port + "/" + strings.Repeat("/", i/60)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			many := entriesUpTo(256<<10, row.host)
			client := newClient(t, u)
			source, err := reference.Parse(u.Host()+"/team/app", "")
			if err != nil {
				t.Fatal(err)
			}
			credentials, problems := client.KeyringFor(source, []corev1.Secret{many, many, many, many, good})
			if len(problems) > 0 || fmt.Sprint(credentials) != row.kept {
				t.Errorf("%v are kept (%v), want %s", credentials, problems, row.kept)
			}
			resolved(t, client, u.Host()+"/team/app", credentials, want)
		})
	}
}
