package registry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
	"github.com/images-io/tagger/internal/transfer"
)

// TestAuth_RefusedWithoutChallenge as public.ecr.aws does: 400 without a body, once a token has ended.
func TestAuth_RefusedWithoutChallenge(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		age    time.Duration
		told   time.Duration // expires_in; 0 means that the service does not say
		ends   bool          // with a new token, the request succeeds
		// requests of the second resolve.
		requests int
		want     v1.Reason
	}{
		{name: "400 to a token of 31 s", status: 400, age: 31 * time.Second, ends: true, requests: 3},
		{name: "403 to a token of 31 s", status: 403, age: 31 * time.Second, ends: true, requests: 3},
		{name: "400 to a token that the service said would last", status: 400, age: 10 * time.Minute, told: time.Hour, ends: true, requests: 3},
		{name: "a token of 61 s of which nothing was said", status: 400, age: 61 * time.Second, ends: true, requests: 2},
		{name: "400 to a token of 29 s is the answer", status: 400, age: 29 * time.Second, ends: true, requests: 1, want: v1.ReasonUnavailable},
		{name: "403 to a token of 29 s is the answer", status: 403, age: 29 * time.Second, ends: true, requests: 1, want: v1.ReasonUnauthorized},
		{name: "400 to a new token, too: one login and no more", status: 400, age: 31 * time.Second, requests: 3, want: v1.ReasonUnavailable},
		{name: "403 to a new token, too", status: 403, age: 31 * time.Second, requests: 3, want: v1.ReasonUnauthorized},
	} {
		t.Run(row.name, func(t *testing.T) {
			now := clocktesting.NewFakePassiveClock(time.Now())
			service := newTokens(everybody)
			service.clock, service.told, service.lifetime = now, row.told > 0, row.told
			var ended atomic.Value
			ended.Store("")
			u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
				guarded := service.guard(next)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					shown := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
					if shown != "" && (shown == ended.Load() || ended.Load() == "all") {
						w.WriteHeader(row.status)
						return
					}
					guarded.ServeHTTP(w, r)
				})
			})
			client := newClient(t, u, func(options *registry.Options) { options.Clock = now })
			want := u.Push(t, "team/app", "latest", "one")
			resolved(t, client, u.Host()+"/team/app", anonymous, want)
			heads := u.Requests(http.MethodHead, "/manifests/")
			ended.Store(strings.TrimPrefix(heads[0].Authorization, "Bearer "))
			if !row.ends {
				ended.Store("all")
			}
			u.ClearLog()
			now.SetTime(now.Now().Add(row.age))
			got, err := resolve(t, client, u.Host()+"/team/app", anonymous)
			if row.want == "" && (err != nil || got != want) {
				t.Errorf("got %s, %v", got, err)
			}
			if row.want != "" {
				if refused := failure(t, client, u.Host()+"/team/app", anonymous); refused.Reason() != row.want {
					t.Errorf("got %s: %v", refused.Reason(), refused)
				}
				return
			}
			if count := u.Count("", ""); count != row.requests {
				t.Errorf("%d requests, want %d: %v", count, row.requests, u.Requests("", ""))
			}
		})
	}
}

// TestARefusedUploadIsNotSentTwice: what was streamed cannot be repeated, and the registry may mean what it says.
func TestARefusedUploadIsNotSentTwice(t *testing.T) {
	now := clocktesting.NewFakePassiveClock(time.Now())
	service := newTokens(everybody)
	service.clock = now
	var puts atomic.Int32
	mirror := registrytest.NewPlainGuarded(t, func(next http.Handler) http.Handler {
		guarded := service.guard(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/") {
				puts.Add(1)
				now.SetTime(now.Now().Add(45 * time.Second))
				registrytest.Refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "no")
				return
			}
			guarded.ServeHTTP(w, r)
		})
	})
	s := newStage(t, registrytest.NewPlainUpstream(t), mirror, func(options *registry.Options) { options.Clock = now })
	digest := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 100))
	s.refused(s.order(digest))
	if count := puts.Load(); count > 2 { // a config and a layer
		t.Errorf("%d uploads of two blobs", count)
	}
}

// challenging is a registry whose greeting says yes, and whose repositories want a token.
func challenging(service *tokens, headers ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		guarded := service.guard(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v2/" && len(headers) == 0:
			case r.URL.Path == "/token" || service.admits(r):
				guarded.ServeHTTP(w, r)
			default:
				for _, header := range headers {
					w.Header().Add("WWW-Authenticate", strings.ReplaceAll(header, "HOST", r.Host))
				}
				if len(headers) == 0 {
					w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/token",service="test"`, r.Host))
				}
				registrytest.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			}
		})
	}
}

func TestAuth_ChallengeOfTheRefusal(t *testing.T) {
	for name, user := range map[string]string{"anonymously": "", "with a credential": "alice"} {
		t.Run(name, func(t *testing.T) {
			service := newTokens(func(who, _ string) bool { return who == user })
			service.users["alice"] = "p"
			u := registrytest.NewUpstream(t, challenging(service))
			credentials := anonymous
			if user != "" {
				credentials = as(t, u, user, "p")
			}
			client := newClient(t, u)
			for _, repository := range []string{"team/app", "team/other"} {
				resolved(t, client, u.Host()+"/"+repository, credentials, u.Push(t, repository, "latest", "one"))
			}
			u.ClearLog()
			resolved(t, client, u.Host()+"/team/app", credentials, u.Push(t, "team/app", "latest", "two"))
			if count := u.Count("", ""); count != 1 {
				t.Errorf("%d requests once it is known, want 1: %v", count, u.Requests("", ""))
			}
		})
	}
}

func TestBearerIsPreferredToBasic(t *testing.T) {
	const bearer = `Bearer realm="https://HOST/token",service="a, Basic b=\"c\"",error="invalid_token"`
	for name, headers := range map[string][]string{
		"Basic first":                     {`Basic realm="here"`, bearer},
		"Basic last":                      {bearer, `Basic realm="here"`},
		"in one header, Basic first":      {`Basic realm="here", ` + bearer},
		"in one header, Basic last":       {bearer + `, Basic realm="here"`},
		"beside what no client knows":     {`Negotiate`, `NTLM TlRMTVNTUAAC==, Basic realm="here", ` + bearer},
		"in capitals and other spaces":    {`BASIC realm=here ,` + strings.Replace(bearer, "Bearer ", "BEARER  ", 1)},
		"with a parameter before its own": {`Digest nonce="1", qop="auth, auth-int", ` + bearer},
	} {
		t.Run(name, func(t *testing.T) {
			service := newTokens(func(user, _ string) bool { return user == "alice" })
			service.users["alice"] = "p"
			u := registrytest.NewUpstream(t, challenging(service, headers...))
			resolved(t, newClient(t, u), u.Host()+"/team/app", as(t, u, "alice", "p"), u.Push(t, "team/app", "latest", "one"))
			for _, r := range u.Requests(http.MethodHead, "") {
				if strings.HasPrefix(r.Authorization, "Basic") {
					t.Error("the registry was shown the password")
				}
			}
		})
	}
}

// TestARealmThatPolicyForbidsIsNamed, whether the greeting or a repository names it.
func TestARealmThatPolicyForbidsIsNamed(t *testing.T) {
	for _, realm := range []string{"https://169.254.169.254/token", "http://127.0.0.1:1/token", "https://[::1]:1/token", "https://localhost/token"} {
		for name, greets := range map[string]bool{"of the greeting": false, "of the repository": true} {
			t.Run(realm+" "+name, func(t *testing.T) {
				u := registrytest.NewUpstream(t, func(http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if greets && r.URL.Path == "/v2/" {
							return
						}
						w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
						w.Header().Add("WWW-Authenticate", `Bearer realm="`+realm+`",service="s"`)
						w.WriteHeader(http.StatusUnauthorized)
					})
				})
				client := newClient(t, u)
				for range 2 {
					got := failure(t, client, u.Host()+"/team/app", as(t, u, "robot", "s3cret"))
					host := strings.Split(realm, "/")[2]
					if got.Reason() != v1.ReasonRefusedByPolicy || !strings.Contains(got.Error(), host) {
						t.Errorf("got %s: %v; want RefusedByPolicy and %s", got.Reason(), got, host)
					}
				}
			})
		}
	}
}

// scoped is a token service that judges scopes.
type scoped struct {
	*tokens
	// refuses says whether the service answers 400 to such scopes.
	refuses func(scopes []string) bool
	// names is the scope of the registry's challenges.
	names func(r *http.Request) string
	asked atomic.Pointer[[][]string]
}

func (s *scoped) guard(next http.Handler) http.Handler {
	guarded := s.tokens.guard(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			var before [][]string
			if kept := s.asked.Load(); kept != nil {
				before = *kept
			}
			now := slices.Concat(before, [][]string{r.URL.Query()["scope"]})
			s.asked.Store(&now)
			if s.refuses != nil && s.refuses(r.URL.Query()["scope"]) {
				w.WriteHeader(http.StatusBadRequest)
				_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_scope"})
				return
			}
		} else if !s.admits(r) && s.names != nil {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",scope=%q`, r.Host, s.names(r)))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

func (s *scoped) scopes() [][]string {
	if kept := s.asked.Load(); kept != nil {
		return *kept
	}
	return nil
}

// TestAuth_ScopeOfDeletion: Quay's knows push, pull and *.
func TestAuth_ScopeOfDeletion(t *testing.T) {
	mentions := func(scopes []string, action string) bool { return strings.Contains(strings.Join(scopes, " "), action) }
	for _, row := range []struct {
		name    string
		refuses func(scopes []string) bool
		names   func(r *http.Request) string
		// allows says which actions a DELETE needs.
		allows, last string
		// logins are those with a credential: the greeting names no scope.
		logins int
	}{
		{name: "it knows delete", allows: "delete", last: "repository:cache/shop/app:pull,delete", logins: 1},
		{name: "it answers 400 to delete", refuses: func(scopes []string) bool { return mentions(scopes, "delete") },
			allows: "push", last: "repository:cache/shop/app:push,pull", logins: 2},
		{name: "its registry wants *", names: func(r *http.Request) string { return "repository:cache/shop/app:*" },
			allows: "*", last: "repository:cache/shop/app:*", logins: 2},
		{name: "it answers 400 to delete, and its registry wants *", refuses: func(scopes []string) bool { return mentions(scopes, "delete") },
			names: func(r *http.Request) string { return "repository:cache/shop/app:*" }, allows: "*", last: "repository:cache/shop/app:*", logins: 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			service := &scoped{tokens: newTokens(everybody), refuses: row.refuses, names: row.names}
			service.deleting, service.users["robot"] = row.allows, "p"
			mirror := registrytest.NewPlainGuarded(t, service.guard)
			client := newClient(t, nil)
			dst := registry.Destination{Address: mirror.Host(), Path: "cache/shop/app", Insecure: true, Username: "robot", Password: "p"}
			for _, content := range []string{"one", "two"} {
				made := mirror.Push(t, "cache/shop/app", "0", content)
				if err := client.Delete(t.Context(), dst, made); err != nil {
					t.Fatal(err)
				}
			}
			asked := service.scopes()
			if len(asked) != row.logins || strings.Join(asked[len(asked)-1], " ") != row.last {
				t.Errorf("the scopes were %v, want %d and last %s", asked, row.logins, row.last)
			}
		})
	}
}

// TestDelete_TokenRefused, whatever it answers.
func TestDelete_TokenRefused(t *testing.T) {
	for _, status := range []int{400, 401, 403, 405} {
		service := newTokens(everybody)
		mirror := registrytest.NewPlainGuarded(t, func(next http.Handler) http.Handler {
			guarded := service.guard(next)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					registrytest.Refuse(w, status, "UNSUPPORTED", "no such scope")
					return
				}
				guarded.ServeHTTP(w, r)
			})
		})
		dst := registry.Destination{Address: mirror.Host(), Path: "cache/shop/app", Insecure: true}
		made := mirror.Push(t, "cache/shop/app", "0", "one")
		err := newClient(t, nil).Delete(t.Context(), dst, made)
		if err == nil || errors.Is(err, transfer.ErrDeletionForbidden) {
			t.Errorf("with %d: %v", status, err)
		}
	}
}

// TestAuth_OneScopeEndsMounting for its registry: the blob is sent instead.
func TestAuth_OneScopeEndsMounting(t *testing.T) {
	service := &scoped{tokens: newTokens(everybody), refuses: func(scopes []string) bool { return len(scopes) > 1 }}
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, service.guard))
	digest := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 3, 100))
	for _, name := range []string{"app", "other", "third"} {
		s.copied(s.order(digest, func(order *registry.CopyRequest) { order.Destination.Path = "cache/shop/" + name }))
		s.isWhole("cache/shop/"+name, "0", digest)
	}
	two := 0
	for _, scopes := range service.scopes() {
		if len(scopes) > 1 {
			two++
		}
	}
	if two == 0 || two > 4 { // as many as there are blobs on their way at once
		t.Errorf("two scopes were requested %d times", two)
	}
}

// TestATokenLastsAsLongAsItsServiceSays, whatever the manager's clock says: it is wrong by an hour from the start, or jumps by one.
func TestATokenLastsAsLongAsItsServiceSays(t *testing.T) {
	const lifetime = 10 * time.Minute
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			theirs := clocktesting.NewFakePassiveClock(time.Now())
			ours := clocktesting.NewFakePassiveClock(theirs.Now().Add(skew))
			service := newTokens(everybody)
			service.clock, service.told, service.lifetime = theirs, true, lifetime
			u := registrytest.NewUpstream(t, service.guard)
			client := newClient(t, u, at(ours))
			want := u.Push(t, "team/app", "latest", "one")
			logins := func(most int, what string) {
				t.Helper()
				u.ClearLog()
				for range 3 {
					resolved(t, client, u.Host()+"/team/app", anonymous, want)
				}
				if count := u.Count("", "/token"); count > most {
					t.Errorf("%s: %d logins for three questions, want at most %d", what, count, most)
				}
			}
			logins(1, "at first")
			pass(theirs, lifetime-time.Second)
			pass(ours, lifetime-time.Second)
			logins(0, "within its life")
			pass(theirs, 2*time.Second)
			pass(ours, 2*time.Second)
			logins(1, "after its end")
			pass(ours, -2*skew)
			logins(1, "after a jump of our clock")
			pass(theirs, lifetime+time.Second)
			pass(ours, lifetime+time.Second)
			logins(1, "after its end, with a clock that jumped")
			pass(ours, skew)
			pass(theirs, lifetime+time.Second)
			pass(ours, lifetime+time.Second)
			logins(1, "with the clock as it was")
		})
	}
}
