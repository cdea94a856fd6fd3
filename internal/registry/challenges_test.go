package registry_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
)

// TestATokenThatTheRegistryRefusesWithoutAChallengeIsReplaced as public.ecr.aws does: 400 without a body, once a token has ended.
func TestATokenThatTheRegistryRefusesWithoutAChallengeIsReplaced(t *testing.T) {
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
			u := newUpstream(t, func(next http.Handler) http.Handler {
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
			want := u.push(t, "team/app", "latest", "one")
			resolved(t, client, u.host()+"/team/app", nobody, want)
			heads := u.requests(http.MethodHead, "/manifests/")
			ended.Store(strings.TrimPrefix(heads[0].authorization, "Bearer "))
			if !row.ends {
				ended.Store("all")
			}
			u.clearLog()
			now.SetTime(now.Now().Add(row.age))
			got, err := resolve(t, client, u.host()+"/team/app", nobody)
			if row.want == "" && (err != nil || got != want) {
				t.Errorf("got %s, %v", got, err)
			}
			if row.want != "" {
				if refused := failure(t, client, u.host()+"/team/app", nobody); refused.Reason() != row.want {
					t.Errorf("got %s: %v", refused.Reason(), refused)
				}
				return
			}
			if count := u.count("", ""); count != row.requests {
				t.Errorf("%d requests, want %d: %v", count, row.requests, u.requests("", ""))
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
	mirror := newPlainGuarded(t, func(next http.Handler) http.Handler {
		guarded := service.guard(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/") {
				puts.Add(1)
				now.SetTime(now.Now().Add(45 * time.Second))
				refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "no")
				return
			}
			guarded.ServeHTTP(w, r)
		})
	})
	s := newStage(t, newPlainUpstream(t), mirror, func(options *registry.Options) { options.Clock = now })
	digest := s.source.pushImage(t, "team/app", "latest", image(t, 1, 100))
	s.refused(s.order(digest))
	if count := puts.Load(); count > 2 { // a config and a layer
		t.Errorf("%d uploads of two blobs", count)
	}
}
