package registry_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/credentials"
)

// late answers about manifests after that long.
func late(wait time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				<-time.After(wait)
			}
			next.ServeHTTP(w, r)
		})
	}
}

// TestASlowHostAnswersEverybodyOnce: nobody waits that long for it, but it gets its places, and each answer reaches who
// asked for it, whatever others ask for meanwhile.
func TestASlowHostAnswersEverybodyOnce(t *testing.T) {
	const sources, places, slow = 50, 8, 400 * time.Millisecond
	const rounds = 1 + (sources+places-1)/places // the first is one question, as nobody knows the host
	u := newUpstream(t, late(slow))
	var asked []string
	for tag := range sources {
		u.push(t, "team/app", fmt.Sprintf("v%d", tag), fmt.Sprint(tag))
		asked = append(asked, fmt.Sprintf("%s/team/app:v%d", u.host(), tag))
	}
	start := time.Now()
	const patience = slow * 3 / 4 // as much as 3 s are of 4 s
	tags := newReconciler(t, newClient(t, u, slowAfter(patience)), patience)
	tags.ask(t, asked...)
	if !happens(3*rounds*slow, func() bool { return tags.answered.Load() == sources }) {
		t.Errorf("%d of %d are answered in %d rounds", tags.answered.Load(), sources, 3*rounds)
	}
	t.Logf("%d of %d sources took %s, with %d rounds of %s", tags.answered.Load(), sources, time.Since(start), rounds, slow)
	if heads := u.count(http.MethodHead, "/manifests/"); heads != sources {
		t.Errorf("%d HEADs for %d sources", heads, sources)
	}
}

// TestNobodyGetsTheAnswerOfAnotherCredentialByComingForIt: that there is an answer is what Turn says to everybody.
func TestNobodyGetsTheAnswerOfAnotherCredentialByComingForIt(t *testing.T) {
	service := newTokens(func(user, _ string) bool { return user == "alice" })
	service.users["alice"] = "p"
	release := make(chan struct{})
	u := newUpstream(t, func(next http.Handler) http.Handler {
		next = service.guard(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/manifests/other") {
				<-release
			}
			next.ServeHTTP(w, r)
		})
	})
	t.Cleanup(func() { close(release) })
	client := newClient(t, u, slowAfter(time.Nanosecond))
	want := u.push(t, "team/app", "v1", "one")
	source, err := reference.Parse(u.host()+"/team/app:v1", "")
	if err != nil {
		t.Fatal(err)
	}
	terms := registry.Terms{NotBefore: time.Now(), Asker: "team", Patience: time.Minute}
	ask := func(credentials credentials.Keyring) (string, error) {
		return client.ResolveOn(t.Context(), source, credentials, terms)
	}
	if _, err := ask(as(t, u, "alice", "p")); !isPostponed(err) {
		t.Fatal(err)
	}
	eventually(t, func() bool { return client.Turn(t.Context(), source) == nil })
	// Others' questions take all places at the host.
	for tag := 0; ; tag++ {
		_, err := resolveOn(t, client, fmt.Sprintf("%s/team/app-%d:other", u.host(), tag), terms)
		if !isPostponed(err) {
			t.Fatal(err)
		}
		if strings.Contains(err.Error(), "others ask it") {
			break
		}
	}
	if err := client.Turn(t.Context(), source); err != nil {
		t.Errorf("the answer is there: %v", err)
	}
	if got, err := ask(nobody); !isPostponed(err) {
		t.Errorf("nobody gets %q, %v", got, err)
	}
	if got, err := ask(as(t, u, "alice", "p")); got != want {
		t.Errorf("alice gets %q, %v; want her answer", got, err)
	}
}
