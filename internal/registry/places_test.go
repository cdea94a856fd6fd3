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

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/throttle"
)

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

// reconciler asks as the controllers do: 32 workers ask for sources, and come back later with those that are postponed.
type reconciler struct {
	client   *registry.Client
	patience time.Duration
	answered atomic.Int32
	queue    chan wish
}

// wish is a source, and since when somebody wants to know about it.
type wish struct {
	source reference.Source
	since  time.Time
}

func newReconciler(t *testing.T, client *registry.Client, patience time.Duration) *reconciler {
	t.Helper()
	r := &reconciler{client: client, patience: patience, queue: make(chan wish, 4096)}
	for range 32 {
		go r.work(t.Context())
	}
	return r
}

func (r *reconciler) ask(t *testing.T, sources ...string) {
	t.Helper()
	for _, from := range sources {
		source, err := reference.Parse(from, "")
		if err != nil {
			t.Fatal(err)
		}
		r.queue <- wish{source: source, since: time.Now()}
	}
}

func (r *reconciler) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-r.queue:
			r.try(ctx, next)
		}
	}
}

func (r *reconciler) try(ctx context.Context, next wish) {
	err := r.resolve(ctx, next)
	var again interface{ RetryAfter() time.Duration }
	var postponed *throttle.Postponed
	switch {
	case err == nil:
		r.answered.Add(1)
	case errors.As(err, &postponed):
		time.AfterFunc(postponed.Postponed(), func() { r.queue <- next })
	case errors.As(err, &again):
		time.AfterFunc(max(again.RetryAfter(), time.Second), func() { r.queue <- next })
	}
}

// resolve asks for a namespace that is the first part of the repository.
func (r *reconciler) resolve(ctx context.Context, next wish) error {
	if err := r.client.Turn(ctx, next.source); err != nil {
		return err
	}
	namespace, _, _ := strings.Cut(strings.TrimPrefix(next.source.Repository(), next.source.Registry()+"/"), "/")
	_, err := r.client.ResolveOn(ctx, next.source, nobody, registry.Terms{NotBefore: next.since, Asker: namespace, Patience: r.patience})
	return err
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
	start := time.Now()
	tags := newReconciler(t, newClient(t, healthy), 3*time.Second)
	tags.ask(t, sources...)
	if !happens(30*time.Second, func() bool { return tags.answered.Load() == 50 }) { // three times what it may take
		t.Fatalf("%d of 50 are answered in 30 s", tags.answered.Load())
	}
	t.Logf("50 Tags of a host that answers took %s beside 1000 of hosts that do not", time.Since(start))
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
