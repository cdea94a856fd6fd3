package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registrytest"
	"github.com/images-io/tagger/internal/registry/throttle"
)

var quotaStart = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// at is the option of a clock that tests move.
func at(clock *clocktesting.FakePassiveClock) func(*registry.Options) {
	return func(options *registry.Options) { options.Clock = clock }
}

func newClock() *clocktesting.FakePassiveClock { return clocktesting.NewFakePassiveClock(quotaStart) }

func pass(clock *clocktesting.FakePassiveClock, wait time.Duration) {
	clock.SetTime(clock.Now().Add(wait))
}

// failing is a registry that answers questions with a status while that is not 0.
type failing struct {
	status     atomic.Int32
	retryAfter string
}

func (f *failing) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := int(f.status.Load())
		if status == 0 || !strings.Contains(r.URL.Path, "/manifests/") {
			next.ServeHTTP(w, r)
			return
		}
		if f.retryAfter != "" {
			w.Header().Set("Retry-After", f.retryAfter)
		}
		w.WriteHeader(status)
	})
}

// resolveOn asks with terms.
func resolveOn(t *testing.T, client *registry.Client, from string, options registry.ResolveOptions) (string, error) {
	t.Helper()
	source, err := reference.Parse(from, "")
	if err != nil {
		t.Fatal(err)
	}
	return client.Resolve(t.Context(), source, anonymous, options)
}

func TestThrottle_RetryAfter(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			clock, limited := newClock(), &failing{retryAfter: "120"}
			u := registrytest.NewUpstream(t, limited.guard)
			client := newClient(t, u, at(clock))
			want := u.Push(t, "team/app", "v1", "one")
			other := registrytest.NewUpstream(t, nil)
			otherClient := newClient(t, other, at(clock))
			otherWant := other.Push(t, "team/app", "v1", "one")
			limited.status.Store(int32(status))
			failure(t, client, u.Host()+"/team/app:v0", anonymous)
			u.ClearLog()
			for range 119 {
				pass(clock, time.Second)
				got := failure(t, client, fmt.Sprintf("%s/team-%d/app:v1", u.Host(), clock.Now().Second()), as(t, u, "alice", "p"))
				if until := clock.Now().Add(got.RetryAfter()); !until.Equal(quotaStart.Add(2*time.Minute)) || !strings.Contains(got.Error(), "not asked before 2026-11-25T12:02:00Z") {
					t.Fatalf("until %s: %v", until, got)
				}
				resolved(t, otherClient, other.Host()+"/team/app:v1", anonymous, otherWant)
			}
			if count := u.Count("", ""); count != 0 {
				t.Errorf("%d requests before the time", count)
			}
			limited.status.Store(0)
			pass(clock, time.Second)
			resolved(t, client, u.Host()+"/team/app:v1", anonymous, want)
		})
	}
}

// TestBreaker_OtherHostsContinue has both registries behind one client, by the CA of a proxy that leads to them.
func TestBreaker_OtherHostsContinue(t *testing.T) {
	limited := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Host, "other.") {
				limited(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	client := newClient(t, u, throughProxy(t, u))
	want := u.Push(t, "team/app", "latest", "one")
	for range 3 {
		if got := failure(t, client, "other.example.com/team/app", anonymous); got.Reason() != v1.ReasonRateLimited {
			t.Errorf("got %v", got)
		}
		resolved(t, client, "registry.example.com/team/app", anonymous, want)
	}
	if all, healthy := u.Count("", ""), u.Count(http.MethodHead, "/manifests/"); all-healthy != 2 { // a greeting each
		t.Errorf("%v", u.Requests("", ""))
	}
}

func TestBreaker_FewRequestsForHalfAnHour(t *testing.T) {
	clock, broken := newClock(), &failing{}
	u := registrytest.NewUpstream(t, newTokens(everybody).guard)
	inner := u.Config.Handler
	u.Config.Handler = broken.guard(inner)
	var asked atomic.Int32
	guarded := u.Config.Handler
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		guarded.ServeHTTP(w, r)
	})
	client := newClient(t, u, at(clock))
	broken.status.Store(500)
	for clock.Since(quotaStart) < 30*time.Minute {
		for tag := range 20 { // each of another repository, which needs a token of its own
			got := failure(t, client, fmt.Sprintf("%s/team-%d/app:v1", u.Host(), tag), anonymous)
			if got.Reason() != v1.ReasonUnavailable {
				t.Fatalf("got %v", got)
			}
		}
		pass(clock, time.Second)
	}
	// Questions: 5 until the host is left alone, and 11 probes after 5 s, 10 s, 20 s … and every 5 min. Beside them a greeting,
	// and a token for each repository that is asked for.
	if count := asked.Load(); count < 12 || count > 40 {
		t.Errorf("%d requests of 20 Tags in half an hour, want 12 to 40", count)
	}
	t.Logf("%d requests in half an hour", asked.Load())
	broken.status.Store(0)
	want := u.Push(t, "team-1/app", "v1", "one")
	pass(clock, 6*time.Minute)
	for range 10 {
		resolved(t, client, u.Host()+"/team-1/app:v1", anonymous, want)
	}
}

func TestOneProbeTriesWhetherAHostWorksAgain(t *testing.T) {
	clock := newClock()
	var stalls atomic.Bool
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	broken := &failing{}
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		next = broken.guard(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if stalls.Load() {
				arrived <- struct{}{}
				<-release
			}
			next.ServeHTTP(w, r)
		})
	})
	client := newClient(t, u, at(clock))
	want := u.Push(t, "team/app", "v0", "one")
	resolved(t, client, u.Host()+"/team/app:v0", anonymous, want)
	broken.status.Store(502)
	for range 5 {
		pass(clock, time.Nanosecond)
		failure(t, client, u.Host()+"/team/app:v0", anonymous)
	}
	pass(clock, 7*time.Second)
	u.ClearLog()
	broken.status.Store(0)
	stalls.Store(true)
	probed := make(chan error, 1)
	go func() {
		_, err := resolve(t, client, u.Host()+"/team/app:v0", anonymous)
		probed <- err
	}()
	<-arrived
	for tag := range 50 {
		if _, err := resolve(t, client, fmt.Sprintf("%s/team/app:v%d", u.Host(), tag+1), anonymous); !throttle.IsThrottled(err) {
			t.Errorf("while a probe is under way: %v, want a *ThrottledError", err)
		}
	}
	if count := u.Count("", ""); count != 1 {
		t.Errorf("%d requests while a probe is in progress, want the probe only", count)
	}
	stalls.Store(false)
	close(release)
	if err := <-probed; err != nil {
		t.Error(err)
	}
	resolved(t, client, u.Host()+"/team/app:v0", anonymous, want)
}

func TestThrottle_ReserveForImports(t *testing.T) {
	clock := newClock()
	u := registrytest.NewUpstream(t, nil)
	client := newClient(t, u, at(clock))
	want := u.Push(t, "team/app", "v1", "one")
	from := u.Host() + "/team/app:v1"
	resolved(t, client, from, anonymous, want)
	polls := 0
	for ; polls < 1000; polls++ {
		clock.SetTime(clock.Now().Add(time.Nanosecond)) // each one is a new question
		if _, err := resolveOn(t, client, from, registry.ResolveOptions{NotBefore: clock.Now(), Poll: true}); err != nil {
			if !throttle.IsThrottled(err) {
				t.Fatal(err)
			}
			break
		}
	}
	if polls < 100 || polls > 450 {
		t.Errorf("%d polls at once", polls)
	}
	clock.SetTime(clock.Now().Add(time.Nanosecond))
	if _, err := resolveOn(t, client, from, registry.ResolveOptions{NotBefore: clock.Now()}); err != nil {
		t.Errorf("an import: %v", err)
	}
}

func TestARateLimitIsKeptAsAReserveForImports(t *testing.T) {
	for _, row := range []struct {
		name, remaining string
		import_, poll   bool
		after           time.Duration // when a poll may be made
	}{
		{name: "plenty", remaining: "100;w=21600", import_: true, poll: true},
		{name: "the reserve", remaining: "20;w=21600", import_: true, after: 216 * time.Second},
		{name: "the last of the reserve", remaining: "1;w=21600", import_: true, after: 20 * 216 * time.Second},
		{name: "nothing", remaining: "0;w=21600", after: 21 * 216 * time.Second},
		{name: "what is no number", remaining: "many", import_: true, poll: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			clock := newClock()
			u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Ratelimit-Limit", "100;w=21600")
					w.Header().Set("Ratelimit-Remaining", row.remaining)
					next.ServeHTTP(w, r)
				})
			})
			client := newClient(t, u, at(clock))
			from := u.Host() + "/team/app:v1"
			want := u.Push(t, "team/app", "v1", "one")
			resolved(t, client, from, anonymous, want)
			u.ClearLog()
			pass(clock, time.Second)
			_, err := resolveOn(t, client, from, registry.ResolveOptions{NotBefore: clock.Now(), Poll: true})
			if (err == nil) != row.poll || (err != nil && !throttle.IsThrottled(err)) {
				t.Errorf("a poll: %v", err)
			}
			if row.after > 0 {
				pass(clock, row.after-2*time.Second)
				if _, err := resolveOn(t, client, from, registry.ResolveOptions{NotBefore: clock.Now(), Poll: true}); !throttle.IsThrottled(err) {
					t.Errorf("a poll before enough has come back: %v", err)
				}
				if asked := u.Count("", ""); asked != 0 {
					t.Errorf("%d requests", asked)
				}
				pass(clock, 2*time.Second)
				if _, err := resolveOn(t, client, from, registry.ResolveOptions{NotBefore: clock.Now(), Poll: true}); err != nil {
					t.Errorf("a poll when enough has come back: %v", err)
				}
			}
			pass(clock, time.Second)
			u.ClearLog()
			got, err := resolve(t, client, from, anonymous)
			if row.import_ && got != want {
				t.Errorf("an import: %v", err)
			}
			var refused *regerr.Error
			if !row.import_ && (!errors.As(err, &refused) || refused.Reason() != v1.ReasonRateLimited || refused.RetryAfter() != 215*time.Second || u.Count("", "") != 0) {
				t.Errorf("an import where nothing is left: %v", err)
			}
		})
	}
}

// TestThrottle_RateLimitPerCredential: Docker Hub limits users, and those without a name by their address.
func TestThrottle_RateLimitPerCredential(t *testing.T) {
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" && r.URL.Path == "/v2/" {
				w.Header().Set("WWW-Authenticate", "Basic")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if r.Header.Get("Authorization") == basic("alice", "p") {
				w.Header().Set("Ratelimit-Limit", "1;w=60")
				w.Header().Set("Ratelimit-Remaining", "0;w=60")
			}
			next.ServeHTTP(w, r)
		})
	})
	clock := newClock()
	client := newClient(t, u, at(clock))
	want := u.Push(t, "team/app", "latest", "one")
	resolved(t, client, u.Host()+"/team/app", as(t, u, "alice", "p"), want)
	pass(clock, time.Second)
	if got := failure(t, client, u.Host()+"/team/app", as(t, u, "alice", "p")); got.Reason() != v1.ReasonRateLimited {
		t.Errorf("got %v", got)
	}
	resolved(t, client, u.Host()+"/team/app", as(t, u, "bob", "p"), want)
}

func TestAHostGetsNoMoreThanItsShare(t *testing.T) {
	clock := newClock()
	u := registrytest.NewUpstream(t, nil)
	client := newClient(t, u, at(clock), func(options *registry.Options) { options.Timeouts.Throttle = time.Nanosecond })
	want := u.Push(t, "team/app", "v1", "one")
	ask := func(times int) (postponed int) {
		for range times {
			pass(clock, time.Nanosecond)
			switch got, err := resolve(t, client, u.Host()+"/team/app:v1", anonymous); {
			case throttle.IsThrottled(err):
				postponed++
			case got != want:
				t.Fatal(err)
			}
		}
		return postponed
	}
	if postponed := ask(600); postponed != 101 { // 500 at once, one of them the greeting
		t.Errorf("%d of 600 questions are postponed, want 101", postponed)
	}
	pass(clock, time.Second)
	if postponed := ask(150); postponed != 50 {
		t.Errorf("a second later %d of 150 are postponed, want 50", postponed)
	}
}

// TestBreaker_IgnoresEarlierResponses: it was sent before the host asked to wait.
func TestBreaker_IgnoresEarlierResponses(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v2/team/app/manifests/slow":
				close(arrived)
				<-release
			case "/v2/team/app/manifests/limited":
				w.Header().Set("Retry-After", "60")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	client := newClient(t, u)
	want := u.Push(t, "team/app", "slow", "one")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if got, err := resolve(t, client, u.Host()+"/team/app:slow", anonymous); got != want {
			t.Errorf("%s, %v", got, err)
		}
	}()
	<-arrived
	failure(t, client, u.Host()+"/team/app:limited", anonymous)
	close(release)
	<-done
	u.ClearLog()
	if got := failure(t, client, u.Host()+"/team/app:another", anonymous); got.Reason() != v1.ReasonRateLimited || u.Count("", "") != 0 {
		t.Errorf("%v after %d requests", got, u.Count("", ""))
	}
}
