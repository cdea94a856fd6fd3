package registry_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

func TestTransport_PlainHTTPNeedsListing(t *testing.T) {
	u := registrytest.NewPlainUpstream(t)
	want := u.Push(t, "team/app", "latest", "one")
	for _, row := range []struct {
		name, conf string
		allowed    bool
		text       string
	}{
		{name: "nothing is configured", text: "list HOST in registries.conf"},
		{name: "the host is listed, not as insecure", conf: "[[registry]]\nlocation = \"HOST\"\n", text: "lists HOST as insecure in registries.conf"},
		{name: "another port of the address is listed", conf: "[[registry]]\nlocation = \"127.0.0.1:1\"\ninsecure = true\n", text: "list HOST in registries.conf"},
		{name: "the address is listed without its port", conf: "[[registry]]\nlocation = \"127.0.0.1\"\ninsecure = true\n", text: "list HOST in registries.conf"},
		{name: "another path is listed", conf: "[[registry]]\nlocation = \"HOST/lab\"\ninsecure = true\n", text: "lists HOST as insecure in registries.conf"},
		{name: "the host is listed as insecure", conf: "[[registry]]\nlocation = \"HOST\"\ninsecure = true\n", allowed: true},
		{name: "the path is listed as insecure", conf: "[[registry]]\nlocation = \"HOST/team\"\ninsecure = true\n", allowed: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			u.ClearLog()
			client := newClient(t, nil, configuredBy(t, "%s", strings.ReplaceAll(row.conf, "HOST", u.Host())))
			if row.allowed {
				resolved(t, client, u.Host()+"/team/app", anonymous, want)
				return
			}
			got := failure(t, client, u.Host()+"/team/app", anonymous)
			if got.Reason() != v1.ReasonRefusedByPolicy || !got.Terminal() || !strings.Contains(got.Error(), strings.ReplaceAll(row.text, "HOST", u.Host())) {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
			if count := u.Count("", ""); count != 0 {
				t.Errorf("%d requests arrived by plain HTTP", count)
			}
		})
	}
}

func TestTransport_PublicPlainHTTPIsRefused(t *testing.T) {
	u := registrytest.NewPlainUpstream(t)
	got := failure(t, newClient(t, nil, throughProxy(t, u)), "registry.example.com/team/app", anonymous)
	if got.Reason() != v1.ReasonRefusedByPolicy || !strings.Contains(got.Error(), "lists registry.example.com as insecure") {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
}

func TestTransport_InsecurePublicName(t *testing.T) {
	u := registrytest.NewPlainUpstream(t)
	want := u.Push(t, "team/app", "latest", "one")
	client := newClient(t, nil, throughProxy(t, u), configuredBy(t, "%s", registrytest.Insecure("registry.example.com")))
	resolved(t, client, "registry.example.com/team/app", anonymous, want)
}

func TestTransport_InsecureHostUnavailable(t *testing.T) {
	u := registrytest.NewPlainUpstream(t)
	u.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	client := newClient(t, nil, configuredBy(t, "%s", registrytest.Insecure(u.Host())))
	if got := failure(t, client, u.Host()+"/team/app", anonymous); got.Reason() != v1.ReasonUnavailable {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
}

func TestTransport_InsecureLocation(t *testing.T) {
	plain := registrytest.NewPlainUpstream(t)
	u := registrytest.NewUpstream(t, answersWith(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	client := newClient(t, u, configuredBy(t, "%s[[registry]]\nprefix = %q\nlocation = \"mirror.example.com\"\ninsecure = true\n", registrytest.Listed(u.Host()), plain.Host()))
	if got := failure(t, client, u.Host()+"/team/app", anonymous); got.Reason() != v1.ReasonRefusedByPolicy {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
}

func TestARedirectToPlainHTTPIsRefused(t *testing.T) {
	plain := registrytest.NewPlainUpstream(t)
	plain.Push(t, "team/app", "latest", "one")
	u := registrytest.NewUpstream(t, answersWith(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	got := failure(t, newClient(t, u, listing(t, u.Host(), plain.Host())), u.Host()+"/team/app", as(t, u, "robot", "s3cret"))
	if got.Reason() != v1.ReasonRefusedByPolicy || !strings.Contains(got.Error(), "plain HTTP to "+plain.Host()) {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	if count := plain.Count("", ""); count != 0 {
		t.Errorf("%d requests arrived by plain HTTP", count)
	}
	resolvedThere := newClient(t, u, configuredBy(t, "%s%s", registrytest.Listed(u.Host()), registrytest.Insecure(plain.Host())))
	if _, err := resolve(t, resolvedThere, u.Host()+"/team/app", as(t, u, "robot", "s3cret")); err != nil {
		t.Errorf("listed as insecure: %v", err)
	}
	for _, r := range plain.Requests("", "") {
		if r.Authorization != "" {
			t.Error("the credential followed the redirect to another host")
		}
	}
}

func TestAnInsecureHostNeedsNoGoodCertificate(t *testing.T) {
	u := registrytest.NewUpstream(t, newTokens(everybody).guard)
	want := u.Push(t, "team/app", "latest", "one")
	client := newClient(t, nil, configuredBy(t, "%s", registrytest.Insecure(u.Host())))
	resolved(t, client, u.Host()+"/team/app", anonymous, want)
}

func TestTransport_InsecureIsPerHost(t *testing.T) {
	other := registrytest.NewUpstream(t, nil)
	u := registrytest.NewUpstream(t, answersWith(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	client := newClient(t, nil, configuredBy(t, "%s%s", registrytest.Listed(other.Host()), registrytest.Insecure(u.Host())))
	got := failure(t, client, u.Host()+"/team/app", anonymous)
	if got.Reason() != v1.ReasonUnavailable || !strings.Contains(got.Error(), other.Host()+" cannot be reached: its certificate") {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
}

func TestWeSayWhoWeAre(t *testing.T) {
	u := registrytest.NewUpstream(t, newTokens(everybody).guard)
	want := u.Push(t, "team/app", "latest", "one")
	resolved(t, newClient(t, u), u.Host()+"/team/app", anonymous, want)
	for _, r := range u.Requests("", "") {
		if r.Agent != "tagger/1.2.3" {
			t.Errorf("%s %s came from %q", r.Method, r.Path, r.Agent)
		}
	}
}

func TestNamesGoThroughTheProxy(t *testing.T) {
	u := registrytest.NewUpstream(t, newTokens(everybody).guard)
	want := u.Push(t, "library/nginx", "latest", "one")
	resolved(t, newClient(t, u, throughProxy(t, u)), "nginx", anonymous, want)
	for _, r := range u.Requests("", "") {
		if r.Host != "index.docker.io" {
			t.Errorf("%s %s went to %s", r.Method, r.Path, r.Host)
		}
	}
}

func TestCompressedAnswersAreNotInflated(t *testing.T) {
	const manifest = `{"schemaVersion":2}`
	asked := make(chan string, 10)
	u := registrytest.NewUpstream(t, answersWith(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Accept-Encoding")
		if r.Method == http.MethodHead {
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		compressed := gzip.NewWriter(w)
		_, _ = io.WriteString(compressed, manifest)
		_ = compressed.Close()
	}))
	if got := failure(t, newClient(t, u), u.Host()+"/team/app", anonymous); got.Reason() != v1.ReasonInvalidContent {
		t.Errorf("got %s: %v, and the digest of what was inflated would be %s", got.Reason(), got, digest.FromString(manifest))
	}
	if encoding := <-asked; encoding != "identity" {
		t.Errorf("asked for %q", encoding)
	}
}
