package registry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

const cachePassword = "only-for-the-cache"

// asCache is an order with the cache's own login.
func asCache(o *registry.CopyRequest) {
	o.Destination.Username, o.Destination.Password = "cache", cachePassword
}

// login is what a registry wants that takes user and password.
func wanting(user, password string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != basic(user, password) {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				registrytest.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func tokensOf(users map[string]string) *tokens {
	made := newTokens(func(user, _ string) bool { return user != "" })
	made.users = users
	return made
}

func TestEachSideIsShownItsOwnCredential(t *testing.T) {
	for _, row := range []struct {
		name           string
		source, mirror func(http.Handler) http.Handler
	}{
		{name: "passwords", source: wanting("robot", "s3cret"), mirror: wanting("cache", cachePassword)},
		{name: "tokens", source: tokensOf(map[string]string{"robot": "s3cret"}).guard, mirror: tokensOf(map[string]string{"cache": cachePassword}).guard},
		{name: "nothing", source: nil, mirror: nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainGuarded(t, row.source), registrytest.NewPlainGuarded(t, row.mirror))
			want := s.source.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, 2, 1<<10))
			order := s.order(want, asCache, func(o *registry.CopyRequest) { o.Keyring = as(t, s.source, "robot", "s3cret") })
			s.copied(order)
			s.isWhole("cache/shop/app", "0", want)
			if held, err := s.client.Head(t.Context(), order.Destination, "0"); held != want || err != nil {
				t.Errorf("the mirror has %q, %v", held, err)
			}
			for _, r := range s.source.Requests("", "") {
				if r.Authorization == basic("cache", cachePassword) {
					t.Errorf("the source was shown the cache's password: %s %s", r.Method, r.Path)
				}
			}
			for _, r := range s.mirror.Requests("", "") {
				if r.Authorization == basic("robot", "s3cret") {
					t.Errorf("the mirror was shown the namespace's password: %s %s", r.Method, r.Path)
				}
			}
		})
	}
}

func TestCopy_SourceAtTheMirrorsHost(t *testing.T) {
	u := registrytest.NewPlainGuarded(t, wanting("cache", cachePassword))
	s := newStage(t, u, u)
	digest := u.PushImage(t, "cache/bank/secret", "0", registrytest.Image(t, 1, 1<<10))
	order := s.order(digest, asCache)
	order.Source = source(t, u.Host()+"/cache/bank/secret")
	if got := s.refused(order); got.Reason() != v1.ReasonUnauthorized {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	for _, r := range u.Requests("", "/bank/") {
		if r.Authorization != "" {
			t.Errorf("%s %s came with a credential", r.Method, r.Path)
		}
	}
	order.Keyring = as(t, u, "robot", "wrong")
	if got := s.refused(order); got.Reason() != v1.ReasonUnauthorized {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	for _, r := range u.Requests("", "/bank/") {
		if r.Authorization == basic("cache", cachePassword) {
			t.Errorf("%s %s came with the cache's credential", r.Method, r.Path)
		}
	}
	if count := u.Count(http.MethodPost, ""); count != 0 {
		t.Errorf("%d uploads were begun", count)
	}
}

// The attacker has a registry with a repository of the same name, and the manifest, and none of its blobs, whatever it says. The
// process that copies put these at the mirror for the victim.
func TestCopy_NoMountAcrossNamespaces(t *testing.T) {
	for source, row := range map[string]struct {
		answer func(next http.Handler, w http.ResponseWriter, r *http.Request)
		reason v1.Reason
	}{
		"the source does not have it":        {lacksBlobs, v1.ReasonNotFound},
		"the source says that it has it":     {sendsZeros, v1.ReasonInvalidContent},
		"the source has the beginning of it": {sendsTheBeginning, v1.ReasonUnavailable},
		"the source sends none of it":        {sendsNothing, v1.ReasonUnavailable},
	} {
		t.Run(source, func(t *testing.T) {
			isNeverMounted(t, registrytest.NewPlainGuarded(t, registrytest.Mounting), registrytest.NewPlainGuarded(t, blobsOnly(row.answer)), row.reason)
		})
	}
}

func lacksBlobs(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
	registrytest.Refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
}

func sendsZeros(next http.Handler, w http.ResponseWriter, r *http.Request) {
	content := recorded(next, r)
	_, _ = w.Write(make([]byte, len(content)))
}

func sendsTheBeginning(next http.Handler, w http.ResponseWriter, r *http.Request) {
	content := recorded(next, r)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content[:len(content)/2])
}

func sendsNothing(next http.Handler, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", strconv.Itoa(len(recorded(next, r))))
	w.WriteHeader(http.StatusOK)
}

// recorded is what a registry answers with.
func recorded(registry http.Handler, r *http.Request) []byte {
	answer := httptest.NewRecorder()
	registry.ServeHTTP(answer, r)
	return answer.Body.Bytes()
}

func isNeverMounted(t *testing.T, mirror, attackers *registrytest.Upstream, reason v1.Reason) {
	t.Helper()
	victims := registrytest.NewPlainUpstream(t)
	theirs, attacker := newStage(t, victims, mirror), newStage(t, attackers, mirror)
	theirs.client = newClient(t, nil, insecureHosts(t, victims, attackers))
	attacker.client = theirs.client
	secret := registrytest.Image(t, 1, 5<<20) // a large blob may be asked for where a small one is sent
	digest := victims.PushImage(t, "bank/app", "latest", secret)
	_ = attackers.PushImage(t, "bank/app", "latest", secret)
	order := theirs.order(digest, func(o *registry.CopyRequest) { o.Namespace, o.Destination.Path = "bank", "bank/app" })
	order.Source = source(t, victims.Host()+"/bank/app")
	theirs.copied(order)

	mirror.ClearLog()
	stolen := attacker.order(digest, func(o *registry.CopyRequest) { o.Destination.Path = "shop/app" })
	stolen.Source = source(t, attackers.Host()+"/bank/app")
	if got := attacker.refused(stolen); got.Reason() != reason {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	for _, r := range mirror.Requests(http.MethodPost, "") {
		if query, err := url.ParseQuery(r.Query); err != nil || !strings.HasPrefix(query.Get("from"), "shop/app") {
			t.Errorf("%s?%s names another repository", r.Path, r.Query)
		}
	}
	if found := attacker.holds("shop/app", "0"); found != "" {
		t.Errorf("%s is under the tag", found)
	}
}

func TestAMountThatIsNotAllowedIsSentInstead(t *testing.T) {
	service := newTokens(func(user, repository string) bool { return user == "cache" && repository != "cache/shop/app" })
	service.users = map[string]string{"cache": cachePassword}
	u := registrytest.NewPlainUpstream(t)
	open := newStage(t, u, registrytest.NewPlainGuarded(t, nil))
	want := u.PushImage(t, "team/app", "latest", registrytest.Image(t, 2, 1<<10))
	open.copied(open.order(want, asCache))
	open.mirror.Config.Handler = service.guard(open.mirror.Config.Handler)
	open.copied(open.order(want, asCache, func(o *registry.CopyRequest) { o.Destination.Path = "cache/shop/tools" }))
	open.isWhole("cache/shop/tools", "0", want)
}

func TestCopy_TokenExpiresOnce(t *testing.T) {
	for _, side := range []string{"source", "mirror"} {
		t.Run(side, func(t *testing.T) {
			service := tokensOf(map[string]string{"robot": "s3cret", "cache": cachePassword})
			var once sync.Once
			ending := func(next http.Handler) http.Handler {
				return service.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(w, r)
					if strings.Contains(r.URL.Path, "/blobs/") {
						once.Do(service.revoke)
					}
				}))
			}
			guards := map[string]func(http.Handler) http.Handler{side: ending}
			s := newStage(t, registrytest.NewPlainGuarded(t, guards["source"]), registrytest.NewPlainGuarded(t, guards["mirror"]))
			want := s.source.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, 3, 1<<10))
			order := s.order(want, asCache, func(o *registry.CopyRequest) { o.Keyring = as(t, s.source, "robot", "s3cret") })
			if held, err := s.client.Head(t.Context(), order.Destination, "0"); held != "" || err != nil { // so that a token was taken before
				t.Fatal(held, err)
			}
			s.copied(order)
			s.isWhole("cache/shop/app", "0", want)
			u := map[string]*registrytest.Upstream{"source": s.source, "mirror": s.mirror}[side]
			if count := u.Count("", "/token"); count != 2 {
				t.Errorf("%d tokens were asked for", count)
			}
		})
	}
}

func TestCopy_RedirectedBlobNoCredential(t *testing.T) {
	elsewhere := registrytest.NewPlainUpstream(t)
	redirecting := func(next http.Handler) http.Handler {
		return wanting("robot", "s3cret")(blobsOnly(func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		})(next))
	}
	u := registrytest.NewPlainGuarded(t, redirecting)
	s := newStage(t, u, registrytest.NewPlainUpstream(t))
	s.client = newClient(t, nil, insecureHosts(t, u, elsewhere))
	made := registrytest.Image(t, 2, 1<<10)
	want := u.PushImage(t, "team/app", "latest", made)
	elsewhere.PushImage(t, "team/app", "latest", made)
	s.copied(s.order(want, func(o *registry.CopyRequest) { o.Keyring = as(t, u, "robot", "s3cret") }))
	s.isWhole("cache/shop/app", "0", want)
	for _, r := range elsewhere.Requests("", "") {
		if r.Authorization != "" {
			t.Errorf("%s %s came with a credential", r.Method, r.Path)
		}
	}
}

func TestAnUploadGoesOnAtTheMirrorItself(t *testing.T) {
	elsewhere := registrytest.NewPlainUpstream(t)
	pointing := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.Header().Set("Location", "http://user:name@"+elsewhere.Host()+r.URL.Path+"there?state=kept")
				w.WriteHeader(http.StatusAccepted)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, pointing))
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 2, 1<<10))
	s.copied(s.order(want, asCache))
	s.isWhole("cache/shop/app", "0", want)
	if count := elsewhere.Count("", ""); count != 0 {
		t.Errorf("%d requests went elsewhere", count)
	}
	for _, r := range s.mirror.Requests(http.MethodPut, "/blobs/") {
		if !strings.Contains(r.Query, "state=kept") || !strings.Contains(r.Query, "digest=sha256") {
			t.Errorf("an upload ended with %s?%s", r.Path, r.Query)
		}
	}
}

func TestCopy_MirrorAddressIsForMirrorOnly(t *testing.T) {
	u := registrytest.NewPlainUpstream(t)
	digest := u.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	s := newStage(t, u, registrytest.NewPlainUpstream(t))
	s.copied(s.order(digest))
	from := s.order(digest)
	from.Source = source(t, s.mirror.Host()+"/cache/shop/app")
	from.Destination.Path = "cache/shop/copy"
	s.mirror.ClearLog()
	if got := s.refused(from); got.Reason() != v1.ReasonRefusedByPolicy {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	if count := s.mirror.Count(http.MethodGet, ""); count != 0 {
		t.Errorf("%d requests arrived", count)
	}
}

func TestCopy_PlainHTTPNeedsInsecure(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
	digest := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	got := s.refused(s.order(digest, func(o *registry.CopyRequest) { o.Destination.Insecure = false }))
	if got.Reason() != v1.ReasonMirrorUnavailable || !strings.Contains(got.Error(), "CACHE_REGISTRY_INSECURE") {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	if count := s.mirror.Count("", ""); count != 0 {
		t.Errorf("%d requests arrived by plain HTTP", count)
	}
}

func TestARepositoryPrintsNoPassword(t *testing.T) {
	dst := registry.Destination{Address: "registry.local:5000", Path: "cache/shop/app", Username: "cache", Password: cachePassword}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, dst); text != "registry.local:5000/cache/shop/app" {
			t.Errorf("%s: %s", verb, text)
		}
	}
}

func TestAStalledSourceHoldsNobodyElseUp(t *testing.T) {
	stalling := registrytest.NewPlainGuarded(t, blobsOnly(func(_ http.Handler, _ http.ResponseWriter, r *http.Request) { stalled(r) }))
	mirror := registrytest.NewPlainUpstream(t)
	good := registrytest.NewPlainUpstream(t)
	s := newStage(t, good, mirror)
	s.client = newClient(t, nil, insecureHosts(t, good, stalling))
	slow := &stage{t: t, source: stalling, mirror: mirror, client: s.client}
	for range 8 {
		order := slow.order(stalling.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, 8, 1<<10)))
		go func() { _, _ = s.client.Copy(t.Context(), order) }()
	}
	eventually(t, func() bool { return stalling.Count(http.MethodGet, "/blobs/") >= 64 })
	start := time.Now()
	s.copied(s.order(good.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, 2, 1<<10))))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
