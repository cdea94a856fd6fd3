package registry_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/images-io/tagger/internal/registry/registrytest"
)

// tokens is a token service in front of a registry, in one server.
type tokens struct {
	// users are the logins; a user may pull where allowed says so. The anonymous user is "".
	users   map[string]string
	allowed func(user, repository string) bool
	// lifetime is how long a token is good; 0 means for ever. told: the answer says so.
	lifetime time.Duration
	told     bool
	// deleting is what a token must allow to delete; empty means delete.
	deleting string
	clock    clock.PassiveClock

	mutex  sync.Mutex
	issued map[string]token
}

type token struct {
	user   string
	scopes []string
	at     time.Time
}

// everybody may pull everything.
func everybody(string, string) bool { return true }

func newTokens(allowed func(user, repository string) bool) *tokens {
	return &tokens{allowed: allowed, issued: map[string]token{}, clock: clock.RealClock{}, users: map[string]string{}}
}

func (s *tokens) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			s.issue(w, r)
			return
		}
		if !s.admits(r) {
			scheme := "https"
			if r.TLS == nil {
				scheme = "http"
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s://%s/token",service="test"`, scheme, r.Host))
			registrytest.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *tokens) issue(w http.ResponseWriter, r *http.Request) {
	user, password, given := r.BasicAuth()
	if given && s.users[user] != password {
		registrytest.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "wrong password")
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	value := fmt.Sprintf("token-%d", len(s.issued))
	s.issued[value] = token{user: user, scopes: r.URL.Query()["scope"], at: s.clock.Now()}
	// A refresh token must not lead go-containerregistry to write to what other requests read.
	answer := map[string]any{"token": value, "refresh_token": "refresh-" + value}
	if s.told {
		answer["expires_in"] = int(s.lifetime.Seconds())
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *tokens) admits(r *http.Request) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	shown, known := s.issued[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !known || (s.lifetime > 0 && s.clock.Since(shown.at) >= s.lifetime) {
		return false
	}
	action := map[string]string{http.MethodGet: "pull", http.MethodHead: "pull", http.MethodDelete: cmp.Or(s.deleting, "delete")}[r.Method]
	repository, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	repository, _, _ = strings.Cut(repository, "/blobs/")
	from := r.URL.Query().Get("from")
	return s.covers(shown, repository, cmp.Or(action, "push")) && (from == "" || s.covers(shown, from, "pull"))
}

// covers says whether a token lets its user do that.
func (s *tokens) covers(shown token, repository, action string) bool {
	return s.allowed(shown.user, repository) && slices.ContainsFunc(shown.scopes, func(scope string) bool {
		actions, matches := strings.CutPrefix(scope, "repository:"+repository+":")
		return matches && slices.Contains(strings.Split(actions, ","), action)
	})
}

// revoke ends all tokens.
func (s *tokens) revoke() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for value := range s.issued {
		s.issued[value] = token{}
	}
}
