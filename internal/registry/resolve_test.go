package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	clocktesting "k8s.io/utils/clock/testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

var anonymous = credentials.Keyring{}

func TestResolve_FiftyTagsOneHeadEach(t *testing.T) {
	u := registrytest.NewUpstream(t, newTokens(everybody).guard)
	client := newClient(t, u)
	want := map[string]string{}
	for i := range 50 {
		tag := fmt.Sprintf("v%d", i)
		want[tag] = u.Push(t, "team/app", tag, tag)
	}
	round := func() int {
		u.ClearLog()
		for tag, digest := range want {
			resolved(t, client, u.Host()+"/team/app:"+tag, anonymous, digest)
		}
		return u.Count("", "")
	}
	if first := round(); first > 55 {
		t.Errorf("the first round took %d requests, more than 1.1 each", first)
	}
	if steady := round(); steady != 50 {
		t.Errorf("the second round took %d requests, want 1 each", steady)
	}
	if pulls := u.Count(http.MethodGet, "/manifests/"); pulls != 0 {
		t.Errorf("%d manifests were read, which registries count as pulls", pulls)
	}
}

func TestResolve_ShareChallengeAndToken(t *testing.T) {
	u := registrytest.NewUpstream(t, newTokens(everybody).guard)
	client := newClient(t, u)
	var all sync.WaitGroup
	for i := range 50 {
		tag := fmt.Sprintf("v%d", i)
		want := u.Push(t, "team/app", tag, tag)
		all.Go(func() {
			if got, err := resolve(t, client, u.Host()+"/team/app:"+tag, anonymous); got != want {
				t.Errorf("%s: got %s, %v; want %s", tag, got, err, want)
			}
		})
	}
	all.Wait()
	if count := u.Count("", ""); count > 55 {
		t.Errorf("%d requests, more than 1.1 each", count)
	}
}

func TestASourceThatIsADigestIsChecked(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	client := newClient(t, u)
	want := u.Push(t, "team/app", "latest", "one")
	resolved(t, client, u.Host()+"/team/app@"+want, anonymous, want)
	if got := failure(t, client, u.Host()+"/team/app@"+digest.FromString("other").String(), anonymous); got.Reason() != v1.ReasonNotFound {
		t.Errorf("an unknown digest is %s: %v", got.Reason(), got)
	}
}

func TestARepositoryOfOneLetterIsFine(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	want := u.Push(t, "a", "latest", "one")
	resolved(t, newClient(t, u), u.Host()+"/a", anonymous, want)
}

// answers is a registry that is broken in one way.
func answers(head func(w http.ResponseWriter), body string) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v2/":
			case r.Method == http.MethodHead:
				head(w)
			default:
				_, _ = w.Write([]byte(body))
			}
		})
	}
}

func TestResolve_HeadWithoutDigest(t *testing.T) {
	const manifest = `{"schemaVersion":2,"layers":[]}`
	hashed := digest.FromString(manifest).String()
	withDigest := func(value string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.Header().Set("Docker-Content-Digest", value) }
	}
	withStatus := func(status int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(status) }
	}
	for _, row := range []struct {
		name, from, body string
		head             func(http.ResponseWriter)
		want             string
		reason           v1.Reason
	}{
		{name: "no digest", head: withDigest(""), body: manifest, want: hashed},
		{name: "a digest that is none", head: withDigest("latest"), body: manifest, want: hashed},
		{name: "no HEAD", head: withStatus(http.StatusMethodNotAllowed), body: manifest, want: hashed},
		{name: "the digest of something else", from: "@" + hashed, head: withDigest(digest.FromString("x").String()), body: manifest, want: hashed},
		{name: "a digest by another algorithm", from: "@" + digest.SHA512.FromString(manifest).String(), head: withDigest(""), body: manifest, want: digest.SHA512.FromString(manifest).String()},
		{name: "a body that does not have the digest", from: "@" + digest.FromString("x").String(), head: withDigest(""), body: manifest, reason: v1.ReasonInvalidContent},
		{name: "a web page", head: withDigest(""), body: "<html>Sign in</html>", reason: v1.ReasonInvalidContent},
		{name: "an image of schema 1", head: withDigest(""), body: `{"schemaVersion":1,"fsLayers":[]}`, reason: v1.ReasonInvalidContent},
		{name: "an image of schema 1 that has a digest", head: func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
			w.Header().Set("Docker-Content-Digest", hashed)
		}, reason: v1.ReasonInvalidContent},
		// One byte more than a manifest may have.
		{name: "a manifest of more than 4 MiB", head: withDigest(""), body: manifest + strings.Repeat(" ", 4<<20+1-len(manifest)), reason: v1.ReasonInvalidContent},
		{name: "a manifest of 4 MiB", head: withDigest(""), body: manifest + strings.Repeat(" ", 4<<20-len(manifest)),
			want: digest.FromString(manifest + strings.Repeat(" ", 4<<20-len(manifest))).String()},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, answers(row.head, row.body))
			from := u.Host() + "/team/app" + row.from
			if row.reason == "" {
				resolved(t, newClient(t, u), from, anonymous, row.want)
				return
			}
			if got := failure(t, newClient(t, u), from, anonymous); got.Reason() != row.reason || !got.Terminal() {
				t.Errorf("got %s, terminal %v: %v", got.Reason(), got.Terminal(), got)
			}
		})
	}
}

func TestNobodyGetsInWithWhatAnotherHasShown(t *testing.T) {
	service := newTokens(func(user, repository string) bool { return user == "alice" })
	service.users = map[string]string{"alice": "a", "bob": "b"}
	u := registrytest.NewUpstream(t, service.guard)
	client := newClient(t, u)
	want := u.Push(t, "team/app", "latest", "one")
	resolved(t, client, u.Host()+"/team/app", as(t, u, "alice", "a"), want)
	for name, other := range map[string]credentials.Keyring{"bob": as(t, u, "bob", "b"), "the anonymous user": anonymous} {
		if got := failure(t, client, u.Host()+"/team/app", other); got.Reason() != v1.ReasonUnauthorized {
			t.Errorf("%s: %s %v", name, got.Reason(), got)
		}
	}
	heads := u.Requests(http.MethodHead, "")
	for _, r := range heads[1:] {
		if r.Authorization == heads[0].Authorization {
			t.Error("another user showed alice's token")
		}
	}
}

func TestResolve_WrongPasswordTriesNext(t *testing.T) {
	service := newTokens(func(user, _ string) bool { return user == "alice" })
	service.users = map[string]string{"alice": "a"}
	u := registrytest.NewUpstream(t, service.guard)
	want := u.Push(t, "team/app", "latest", "one")
	wrong, right := auths(t, map[string]map[string]string{u.Host(): login("alice", "old")}), auths(t, map[string]map[string]string{u.Host(): login("alice", "a")})
	resolved(t, newClient(t, u), u.Host()+"/team/app", keyring(t, wrong, right), want)
}

func TestResolve_RedirectIsAnonymous(t *testing.T) {
	service := newTokens(func(user, _ string) bool { return user == "" })
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		guarded := service.guard(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "registry.example.com" {
				path := strings.Replace(r.URL.Path, "/v2/team/", "/v2/elsewhere/", 1)
				http.Redirect(w, r, "https://other.example.com"+path, http.StatusTemporaryRedirect)
				return
			}
			if r.Method == http.MethodHead && r.Header.Get("Authorization") == "" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="https://other.example.com/token",service="test",scope="repository:elsewhere/app:pull"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			guarded.ServeHTTP(w, r)
		})
	})
	want := u.Push(t, "elsewhere/app", "latest", "one")
	resolved(t, newClient(t, u, throughProxy(t, u)), "registry.example.com/team/app", anonymous, want)
}

func TestATokenThatIsOverIsReplaced(t *testing.T) {
	for _, row := range []struct {
		name string
		told bool
		// requests of the resolve after the token is over.
		requests int
	}{
		{name: "the service told when: a token and a HEAD", told: true, requests: 2},
		{name: "the service does not tell: it lasts 60 s", requests: 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			now := clocktesting.NewFakePassiveClock(time.Now())
			service := newTokens(everybody)
			service.lifetime, service.told, service.clock = time.Minute, row.told, now
			u := registrytest.NewUpstream(t, service.guard)
			client := newClient(t, u, func(options *registry.Options) { options.Clock = now })
			want := u.Push(t, "team/app", "latest", "one")
			resolved(t, client, u.Host()+"/team/app", anonymous, want)
			u.ClearLog()
			now.SetTime(now.Now().Add(59 * time.Second))
			resolved(t, client, u.Host()+"/team/app", anonymous, want)
			if count := u.Count("", ""); count != 1 {
				t.Errorf("within the token's life: %d requests, want 1", count)
			}
			u.ClearLog()
			now.SetTime(now.Now().Add(2 * time.Second))
			resolved(t, client, u.Host()+"/team/app", anonymous, want)
			if count := u.Count("", ""); count != row.requests {
				t.Errorf("after it: %d requests, want %d: %v", count, row.requests, u.Requests("", ""))
			}
		})
	}
}

func TestResolve_TokenExpiryUnderLoad(t *testing.T) {
	service := newTokens(everybody)
	u := registrytest.NewUpstream(t, service.guard)
	client := newClient(t, u)
	want := map[string]string{}
	for i := range 20 {
		tag := fmt.Sprintf("v%d", i)
		want[tag] = u.Push(t, "team/app", tag, tag)
	}
	var all sync.WaitGroup
	for tag, digest := range want {
		all.Go(func() {
			for round := range 10 { // fewer requests than the host's quota
				if round%5 == 0 {
					service.revoke()
				}
				got, err := resolve(t, client, u.Host()+"/team/app:"+tag, anonymous)
				var refused *regerr.Error
				// Where tokens are revoked faster than they are used, a refusal is the truth.
				if got != digest && !(errors.As(err, &refused) && refused.Reason() == v1.ReasonUnauthorized) {
					t.Errorf("%s: %s, %v", tag, got, err)
				}
			}
		})
	}
	all.Wait()
	for tag, digest := range want {
		resolved(t, client, u.Host()+"/team/app:"+tag, anonymous, digest)
	}
}

func TestResolve_NewlyRequiredToken(t *testing.T) {
	var service *tokens
	var mutex sync.Mutex
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mutex.Lock()
			guard := service
			mutex.Unlock()
			if guard == nil {
				next.ServeHTTP(w, r)
				return
			}
			guard.guard(next).ServeHTTP(w, r)
		})
	})
	client := newClient(t, u)
	want := u.Push(t, "team/app", "latest", "one")
	resolved(t, client, u.Host()+"/team/app", anonymous, want)
	mutex.Lock()
	service = newTokens(everybody)
	mutex.Unlock()
	resolved(t, client, u.Host()+"/team/app", anonymous, want)
}

func TestResolve_TokenServiceMoves(t *testing.T) {
	service, moved := newTokens(everybody), &atomic.Bool{}
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		guarded := service.guard(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if moved.Load() {
				switch r.URL.Path {
				case "/token":
					_, _ = io.WriteString(w, `{"token":"of no use"}`)
					return
				case "/moved":
					r.URL.Path = "/token"
				case "/v2/":
					w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/moved",service="test"`, r.Host))
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
			}
			guarded.ServeHTTP(w, r)
		})
	})
	client := newClient(t, u)
	want := u.Push(t, "team/app", "latest", "one")
	resolved(t, client, u.Host()+"/team/app", anonymous, want)
	moved.Store(true)
	service.revoke()
	if got := failure(t, client, u.Host()+"/team/app", anonymous); got.Reason() != v1.ReasonUnauthorized {
		t.Errorf("%s %v", got.Reason(), got)
	}
	resolved(t, client, u.Host()+"/team/app", anonymous, want)
}

func TestACallerWhoLeavesGetsItsOwnError(t *testing.T) {
	arrived := make(chan struct{}, 1)
	u := registrytest.NewUpstream(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-r.Context().Done()
		})
	})
	client := newClient(t, u)
	source, err := reference.Parse(u.Host()+"/team/app", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := client.Resolve(ctx, source, anonymous, now()); !errors.Is(err, context.Canceled) || errors.As(err, new(*regerr.Error)) {
		t.Errorf("got %T %v, want the context's error", err, err)
	}
	u.CloseClientConnections()
}

func TestResolve_OnePingPerRegistry(t *testing.T) {
	for name, row := range map[string]struct {
		guard    func(http.Handler) http.Handler
		requests int
	}{
		"without authentication": {nil, 51},
		"with a token for each":  {newTokens(everybody).guard, 101},
	} {
		t.Run(name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, row.guard)
			client := newClient(t, u)
			want := u.Push(t, "team/app", "v1", "one")
			for i := range 50 {
				repository := fmt.Sprintf("team-%d/app", i)
				u.Push(t, repository, "v1", "one")
				resolved(t, client, u.Host()+"/"+repository+":v1", anonymous, want)
			}
			if count := u.Count("", ""); count != row.requests {
				t.Errorf("%d requests for 50 repositories, want %d", count, row.requests)
			}
		})
	}
}
