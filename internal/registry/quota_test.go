package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net"
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
func resolveOn(t *testing.T, client *registry.Client, from string, terms registry.Terms) (string, error) {
	t.Helper()
	source, err := reference.Parse(from, "")
	if err != nil {
		t.Fatal(err)
	}
	return client.ResolveOn(t.Context(), source, nobody, terms)
}

func isPostponed(err error) bool {
	var postponed *registry.Postponed
	return errors.As(err, &postponed)
}

func TestAHostThatAsksToWaitGetsNoRequestBeforeTheTime(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			clock, limited := newClock(), &failing{retryAfter: "120"}
			u := newUpstream(t, limited.guard)
			client := newClient(t, u, at(clock))
			want := u.push(t, "team/app", "v1", "one")
			other := newUpstream(t, nil)
			otherClient := newClient(t, other, at(clock))
			otherWant := other.push(t, "team/app", "v1", "one")
			limited.status.Store(int32(status))
			failure(t, client, u.host()+"/team/app:v0", nobody)
			u.clearLog()
			for range 119 {
				pass(clock, time.Second)
				got := failure(t, client, fmt.Sprintf("%s/team-%d/app:v1", u.host(), clock.Now().Second()), as(t, u, "alice", "p"))
				if until := clock.Now().Add(got.RetryAfter()); !until.Equal(quotaStart.Add(2*time.Minute)) || !strings.Contains(got.Error(), "not asked before 2026-11-25T12:02:00Z") {
					t.Fatalf("until %s: %v", until, got)
				}
				resolved(t, otherClient, other.host()+"/team/app:v1", nobody, otherWant)
			}
			if count := u.count("", ""); count != 0 {
				t.Errorf("%d requests before the time", count)
			}
			limited.status.Store(0)
			pass(clock, time.Second)
			resolved(t, client, u.host()+"/team/app:v1", nobody, want)
		})
	}
}

// TestWhileOneHostIsLeftAloneOthersAreAsked has both registries behind one client, by the CA of a proxy that leads to them.
func TestWhileOneHostIsLeftAloneOthersAreAsked(t *testing.T) {
	limited := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	u := newUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Host, "other.") {
				limited(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	client := newClient(t, u, throughProxy(t, u))
	want := u.push(t, "team/app", "latest", "one")
	for range 3 {
		if got := failure(t, client, "other.example.com/team/app", nobody); got.Reason() != v1.ReasonRateLimited {
			t.Errorf("got %v", got)
		}
		resolved(t, client, "registry.example.com/team/app", nobody, want)
	}
	if all, healthy := u.count("", ""), u.count(http.MethodHead, "/manifests/"); all-healthy != 2 { // a greeting each
		t.Errorf("%v", u.requests("", ""))
	}
}

func TestAnUnavailableHostGetsFewRequestsForHalfAnHour(t *testing.T) {
	clock, broken := newClock(), &failing{}
	u := newUpstream(t, newTokens(everybody).guard)
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
			got := failure(t, client, fmt.Sprintf("%s/team-%d/app:v1", u.host(), tag), nobody)
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
	want := u.push(t, "team-1/app", "v1", "one")
	pass(clock, 6*time.Minute)
	for range 10 {
		resolved(t, client, u.host()+"/team-1/app:v1", nobody, want)
	}
}

func TestOneProbeTriesWhetherAHostWorksAgain(t *testing.T) {
	clock := newClock()
	var stalls atomic.Bool
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	broken := &failing{}
	u := newUpstream(t, func(next http.Handler) http.Handler {
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
	want := u.push(t, "team/app", "v0", "one")
	resolved(t, client, u.host()+"/team/app:v0", nobody, want)
	broken.status.Store(502)
	for range 5 {
		pass(clock, time.Nanosecond)
		failure(t, client, u.host()+"/team/app:v0", nobody)
	}
	pass(clock, 7*time.Second)
	u.clearLog()
	broken.status.Store(0)
	stalls.Store(true)
	probed := make(chan error, 1)
	go func() {
		_, err := resolve(t, client, u.host()+"/team/app:v0", nobody)
		probed <- err
	}()
	<-arrived
	for tag := range 50 {
		if _, err := resolve(t, client, fmt.Sprintf("%s/team/app:v%d", u.host(), tag+1), nobody); !isPostponed(err) {
			t.Errorf("while a probe is under way: %v, want a Postponed", err)
		}
	}
	if count := u.count("", ""); count != 1 {
		t.Errorf("%d requests while nobody knows, want the probe", count)
	}
	stalls.Store(false)
	close(release)
	if err := <-probed; err != nil {
		t.Error(err)
	}
	resolved(t, client, u.host()+"/team/app:v0", nobody, want)
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
			u := newUpstream(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Ratelimit-Limit", "100;w=21600")
					w.Header().Set("Ratelimit-Remaining", row.remaining)
					next.ServeHTTP(w, r)
				})
			})
			client := newClient(t, u, at(clock))
			from := u.host() + "/team/app:v1"
			want := u.push(t, "team/app", "v1", "one")
			resolved(t, client, from, nobody, want)
			u.clearLog()
			pass(clock, time.Second)
			_, err := resolveOn(t, client, from, registry.Terms{NotBefore: clock.Now(), Hint: true})
			if (err == nil) != row.poll || (err != nil && !isPostponed(err)) {
				t.Errorf("a poll: %v", err)
			}
			if row.after > 0 {
				pass(clock, row.after-2*time.Second)
				if _, err := resolveOn(t, client, from, registry.Terms{NotBefore: clock.Now(), Hint: true}); !isPostponed(err) {
					t.Errorf("a poll before enough has come back: %v", err)
				}
				if asked := u.count("", ""); asked != 0 {
					t.Errorf("%d requests", asked)
				}
				pass(clock, 2*time.Second)
				if _, err := resolveOn(t, client, from, registry.Terms{NotBefore: clock.Now(), Hint: true}); err != nil {
					t.Errorf("a poll when enough has come back: %v", err)
				}
			}
			pass(clock, time.Second)
			u.clearLog()
			got, err := resolve(t, client, from, nobody)
			if row.import_ && got != want {
				t.Errorf("an import: %v", err)
			}
			var refused *registry.Error
			if !row.import_ && (!errors.As(err, &refused) || refused.Reason() != v1.ReasonRateLimited || refused.RetryAfter() != 215*time.Second || u.count("", "") != 0) {
				t.Errorf("an import where nothing is left: %v", err)
			}
		})
	}
}

// TestTheRateLimitOfOneIdentityIsNotThatOfAnother: Docker Hub limits users, and those without a name by their address.
func TestTheRateLimitOfOneIdentityIsNotThatOfAnother(t *testing.T) {
	u := newUpstream(t, func(next http.Handler) http.Handler {
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
	want := u.push(t, "team/app", "latest", "one")
	resolved(t, client, u.host()+"/team/app", as(t, u, "alice", "p"), want)
	pass(clock, time.Second)
	if got := failure(t, client, u.host()+"/team/app", as(t, u, "alice", "p")); got.Reason() != v1.ReasonRateLimited {
		t.Errorf("got %v", got)
	}
	resolved(t, client, u.host()+"/team/app", as(t, u, "bob", "p"), want)
}

func TestAHostGetsNoMoreThanItsShare(t *testing.T) {
	clock := newClock()
	u := newUpstream(t, nil)
	client := newClient(t, u, at(clock))
	want := u.push(t, "team/app", "v1", "one")
	ask := func(times int) (postponed int) {
		for range times {
			pass(clock, time.Nanosecond)
			switch got, err := resolve(t, client, u.host()+"/team/app:v1", nobody); {
			case isPostponed(err):
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

// silentHost accepts connections and never answers.
func silentHost(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mutex sync.Mutex
	var open []net.Conn
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			mutex.Lock()
			open = append(open, connection)
			mutex.Unlock()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		mutex.Lock()
		defer mutex.Unlock()
		for _, connection := range open {
			connection.Close()
		}
	})
	return listener.Addr().String()
}

// workers are those of a controller: each takes questions, and comes back later with those that are postponed.
func workers(t *testing.T, client *registry.Client, count int, sources []string, answered func(source string)) {
	t.Helper()
	queue := make(chan string, len(sources))
	for _, source := range sources {
		queue <- source
	}
	for range count {
		go func() {
			for {
				select {
				case <-t.Context().Done():
					return
				case source := <-queue:
					parsed, err := reference.Parse(source, "")
					if err != nil {
						t.Error(err)
						return
					}
					namespace, _, _ := strings.Cut(strings.TrimPrefix(source, parsed.Registry()+"/"), "/")
					_, err = client.ResolveOn(t.Context(), parsed, nobody, registry.Terms{NotBefore: time.Now(), Asker: namespace, Patience: 3 * time.Second})
					var again interface{ RetryAfter() time.Duration }
					var postponed *registry.Postponed
					switch {
					case err == nil:
						answered(source)
					case errors.As(err, &postponed):
						time.AfterFunc(postponed.Postponed(), func() { queue <- source })
					case errors.As(err, &again):
						time.AfterFunc(max(again.RetryAfter(), time.Second), func() { queue <- source })
					}
				}
			}
		}()
	}
}

// TestHostsThatNeverAnswerHoldNobodyUp has 32 workers, like the controller, and 50 hosts that never answer.
func TestHostsThatNeverAnswerHoldNobodyUp(t *testing.T) {
	healthy := newUpstream(t, nil)
	var sources []string
	for host := range 50 {
		address := silentHost(t)
		for tag := range 20 {
			sources = append(sources, fmt.Sprintf("%s/evil-%d/app:v%d", address, host%5, tag))
		}
	}
	for tag := range 50 {
		healthy.push(t, "good/app", fmt.Sprintf("v%d", tag), fmt.Sprint(tag))
		sources = append(sources, fmt.Sprintf("%s/good/app:v%d", healthy.host(), tag))
	}
	var done atomic.Int32
	all := make(chan struct{})
	start := time.Now()
	workers(t, newClient(t, healthy), 32, sources, func(string) {
		if done.Add(1) == 50 {
			close(all)
		}
	})
	select {
	case <-all:
		t.Logf("50 Tags of a host that answers took %s beside 1000 of hosts that do not", time.Since(start))
	case <-time.After(30 * time.Second): // three times what it may take
		t.Errorf("%d of 50 in 30 s", done.Load())
	}
}

// TestAHostThatDoesNotAnswerIsAskedOneQuestionAndNobodyWaits: a worker that waited would do so for a minute.
func TestAHostThatDoesNotAnswerIsAskedOneQuestionAndNobodyWaits(t *testing.T) {
	release := make(chan struct{})
	u := newUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				<-release
			}
			next.ServeHTTP(w, r)
		})
	})
	client := newClient(t, u)
	for tag := range 200 {
		_, err := resolveOn(t, client, fmt.Sprintf("%s/evil/app:v%d", u.host(), tag), registry.Terms{NotBefore: time.Now(), Asker: "evil", Patience: time.Minute})
		if !isPostponed(err) {
			t.Fatalf("got %v, want a Postponed", err)
		}
	}
	close(release)
	failure(t, client, u.host()+"/evil/app:v0", nobody) // it is not there, and by now others would have arrived
	if count := u.count(http.MethodHead, "/manifests/"); count > 2 {
		t.Errorf("%d questions", count)
	}
}

// TestAHostThatStopsAnsweringKeepsFewWaiting: it answered, so some wait, but not all that there are.
func TestAHostThatStopsAnsweringKeepsFewWaiting(t *testing.T) {
	var stalls atomic.Bool
	release := make(chan struct{})
	u := newUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if stalls.Load() {
				<-release
			}
			next.ServeHTTP(w, r)
		})
	})
	t.Cleanup(func() { close(release) })
	client := newClient(t, u)
	u.push(t, "team/app", "v0", "one")
	ask := func(tag int, patience time.Duration) error {
		_, err := resolveOn(t, client, fmt.Sprintf("%s/team/app:v%d", u.host(), tag), registry.Terms{NotBefore: time.Now(), Asker: "team", Patience: patience})
		return err
	}
	for err := errors.New("not asked yet"); err != nil; err = ask(0, time.Minute) {
		if !isPostponed(err) && err.Error() != "not asked yet" {
			t.Fatal(err)
		}
	}
	stalls.Store(true)
	var waited atomic.Int32
	var all sync.WaitGroup
	for tag := range 32 {
		all.Go(func() {
			start := time.Now()
			if err := ask(tag%4, time.Second); !isPostponed(err) {
				t.Errorf("got %v", err)
			}
			if time.Since(start) >= time.Second {
				waited.Add(1)
			}
		})
	}
	all.Wait()
	if count := waited.Load(); count == 0 || count > 8 {
		t.Errorf("%d of 32 waited, want up to 8", count)
	}
	hurry, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	source, err := reference.Parse(u.host()+"/team/app:v0", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.ResolveOn(hurry, source, nobody, registry.Terms{NotBefore: time.Now(), Asker: "team", Patience: time.Minute}); !isPostponed(err) {
		t.Errorf("now that it counts as silent: %v", err)
	}
}

// TestAnAnswerThatWasUnderWayLiftsNoBan: it was sent before the host asked to wait.
func TestAnAnswerThatWasUnderWayLiftsNoBan(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, func(next http.Handler) http.Handler {
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
	want := u.push(t, "team/app", "slow", "one")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if got, err := resolve(t, client, u.host()+"/team/app:slow", nobody); got != want {
			t.Errorf("%s, %v", got, err)
		}
	}()
	<-arrived
	failure(t, client, u.host()+"/team/app:limited", nobody)
	close(release)
	<-done
	u.clearLog()
	if got := failure(t, client, u.host()+"/team/app:another", nobody); got.Reason() != v1.ReasonRateLimited || u.count("", "") != 0 {
		t.Errorf("%v after %d requests", got, u.count("", ""))
	}
}

func TestAPollTakesAnAnswerThatIsFreshEnoughAndAPushDoesNot(t *testing.T) {
	clock := newClock()
	u := newUpstream(t, nil)
	client := newClient(t, u, at(clock))
	from := u.host() + "/team/app:v1"
	old := u.push(t, "team/app", "v1", "one")
	due := clock.Now()
	poll := func() (string, error) {
		return resolveOn(t, client, from, registry.Terms{NotBefore: due, Hint: true})
	}
	heads := func() int { return u.count(http.MethodHead, "/manifests/") }
	for range 100 {
		if got, err := poll(); got != old {
			t.Fatal(err)
		}
	}
	if heads() != 1 {
		t.Errorf("%d HEADs for 100 polls that were due at the same time", heads())
	}
	pass(clock, time.Second)
	pushed := u.push(t, "team/app", "v1", "two")
	resolved(t, client, from, nobody, pushed)
	if got, err := poll(); got != pushed || heads() != 2 {
		t.Errorf("a poll gets %s (%v) with %d HEADs, want what the push got with 2", got, err, heads())
	}
	if got, err := resolveOn(t, client, from, registry.Terms{NotBefore: due, Hint: true, Asker: "another"}); got != pushed {
		t.Error(err)
	}
	pass(clock, 2*time.Minute)
	if _, err := poll(); err != nil || heads() != 3 {
		t.Errorf("%v with %d HEADs: an answer of two minutes ago is kept", err, heads())
	}
}

// TestAnAnswerIsNeverSharedAcrossCredentials: what one may see says nothing of what another may see.
func TestAnAnswerIsNeverSharedAcrossCredentials(t *testing.T) {
	service := newTokens(func(user, _ string) bool { return user == "alice" })
	service.users["alice"] = "p"
	u := newUpstream(t, service.guard)
	client := newClient(t, u, at(newClock()))
	want := u.push(t, "team/app", "v1", "one")
	resolved(t, client, u.host()+"/team/app:v1", as(t, u, "alice", "p"), want)
	if got, err := resolveOn(t, client, u.host()+"/team/app:v1", registry.Terms{NotBefore: quotaStart, Hint: true}); err == nil {
		t.Errorf("nobody gets %s, which only alice may see", got)
	}
}

// TestThousandTagsThatShareTenReferencesTakeTenHeads is a round of polls.
func TestThousandTagsThatShareTenReferencesTakeTenHeads(t *testing.T) {
	u := newUpstream(t, newTokens(everybody).guard)
	client := newClient(t, u)
	want := map[string]string{}
	for i := range 10 {
		name := fmt.Sprintf("%s/team/app:v%d", u.host(), i)
		want[name] = u.push(t, "team/app", fmt.Sprintf("v%d", i), fmt.Sprint(i))
	}
	due := time.Now()
	var all sync.WaitGroup
	for name, digest := range want {
		for range 100 {
			all.Go(func() {
				if got, err := resolveOn(t, client, name, registry.Terms{NotBefore: due, Hint: true}); got != digest {
					t.Errorf("%s: %s, %v", name, got, err)
				}
			})
		}
	}
	all.Wait()
	if heads := u.count(http.MethodHead, "/manifests/"); heads > 10 {
		t.Errorf("%d HEADs for 1000 Tags with 10 references", heads)
	}
	if gets := u.count(http.MethodGet, "/manifests/"); gets > 0 {
		t.Errorf("%d manifests were read", gets)
	}
}

// TestAPushDuringACheckIsNotLost: who comes while a question is under way, and needs a fresher answer, gets one.
func TestAPushDuringACheckIsNotLost(t *testing.T) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	var heads atomic.Int32
	old, pushed := digest.FromString("old").String(), digest.FromString("new").String()
	u := newUpstream(t, func(http.Handler) http.Handler {
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
	from := u.host() + "/team/app:v1"
	var all sync.WaitGroup
	all.Go(func() {
		if got, err := resolve(t, client, from, nobody); got != old {
			t.Errorf("the check: %s, %v", got, err)
		}
	})
	<-arrived
	pass(clock, time.Second)
	asking := make(chan struct{}, 20)
	for range 20 {
		all.Go(func() {
			asking <- struct{}{}
			if got, err := resolve(t, client, from, nobody); got != pushed {
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
