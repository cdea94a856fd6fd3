package registry_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

func TestResolve_PollReusesFreshDigest(t *testing.T) {
	clock := newClock()
	u := registrytest.NewUpstream(t, nil)
	client := newClient(t, u, at(clock))
	from := u.Host() + "/team/app:v1"
	old := u.Push(t, "team/app", "v1", "one")
	due := clock.Now()
	poll := func() (string, error) {
		return resolveOn(t, client, from, registry.ResolveOptions{NotBefore: due, Poll: true})
	}
	heads := func() int { return u.Count(http.MethodHead, "/manifests/") }
	for range 100 {
		if got, err := poll(); got != old {
			t.Fatal(err)
		}
	}
	if heads() != 1 {
		t.Errorf("%d HEADs for 100 polls that were due at the same time", heads())
	}
	pass(clock, time.Second)
	pushed := u.Push(t, "team/app", "v1", "two")
	resolved(t, client, from, anonymous, pushed)
	if got, err := poll(); got != pushed || heads() != 2 {
		t.Errorf("a poll gets %s (%v) with %d HEADs, want what the push got with 2", got, err, heads())
	}
	if got, err := resolveOn(t, client, from, registry.ResolveOptions{NotBefore: due, Poll: true, Namespace: "another"}); got != pushed {
		t.Error(err)
	}
	pass(clock, 2*time.Minute)
	if _, err := poll(); err != nil || heads() != 3 {
		t.Errorf("%v with %d HEADs: an answer of two minutes ago is kept", err, heads())
	}
}

// TestResolve_DigestsArePerCredential: what one may see says nothing of what another may see.
func TestResolve_DigestsArePerCredential(t *testing.T) {
	service := newTokens(func(user, _ string) bool { return user == "alice" })
	service.users["alice"] = "p"
	u := registrytest.NewUpstream(t, service.guard)
	client := newClient(t, u, at(newClock()))
	want := u.Push(t, "team/app", "v1", "one")
	resolved(t, client, u.Host()+"/team/app:v1", as(t, u, "alice", "p"), want)
	if got, err := resolveOn(t, client, u.Host()+"/team/app:v1", registry.ResolveOptions{NotBefore: quotaStart, Poll: true}); err == nil {
		t.Errorf("the anonymous user gets %s, which only alice may see", got)
	}
}

// TestResolve_ThousandTagsTenHeads is a round of polls.
func TestResolve_ThousandTagsTenHeads(t *testing.T) {
	u := registrytest.NewUpstream(t, newTokens(everybody).guard)
	client := newClient(t, u)
	want := map[string]string{}
	for i := range 10 {
		name := fmt.Sprintf("%s/team/app:v%d", u.Host(), i)
		want[name] = u.Push(t, "team/app", fmt.Sprintf("v%d", i), fmt.Sprint(i))
	}
	due := time.Now()
	var all sync.WaitGroup
	for name, digest := range want {
		for range 100 {
			all.Go(func() {
				if got, err := resolveOn(t, client, name, registry.ResolveOptions{NotBefore: due, Poll: true}); got != digest {
					t.Errorf("%s: %s, %v", name, got, err)
				}
			})
		}
	}
	all.Wait()
	if heads := u.Count(http.MethodHead, "/manifests/"); heads > 10 {
		t.Errorf("%d HEADs for 1000 Tags with 10 references", heads)
	}
	if gets := u.Count(http.MethodGet, "/manifests/"); gets > 0 {
		t.Errorf("%d manifests were read", gets)
	}
}

// TestAPushDuringACheckIsNotLost: who comes while a question is under way, and needs a fresher answer, gets one.
func TestAPushDuringACheckIsNotLost(t *testing.T) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	var heads atomic.Int32
	old, pushed := digest.FromString("old").String(), digest.FromString("new").String()
	u := registrytest.NewUpstream(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			if heads.Add(1) == 1 {
				arrived <- struct{}{}
				<-release
				w.Header().Set("Docker-Content-Digest", old)
				return
			}
			w.Header().Set("Docker-Content-Digest", pushed)
		})
	})
	clock := newClock()
	client := newClient(t, u, at(clock))
	from := u.Host() + "/team/app:v1"
	var all sync.WaitGroup
	all.Go(func() {
		if got, err := resolve(t, client, from, anonymous); got != old {
			t.Errorf("the check: %s, %v", got, err)
		}
	})
	<-arrived
	pass(clock, time.Second)
	asking := make(chan struct{}, 20)
	for range 20 {
		all.Go(func() {
			asking <- struct{}{}
			if got, err := resolve(t, client, from, anonymous); got != pushed {
				t.Errorf("a push during the check: %s, %v; want the new digest", got, err)
			}
		})
	}
	for range 20 {
		<-asking
	}
	close(release)
	all.Wait()
}
