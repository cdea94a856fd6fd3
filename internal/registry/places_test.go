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
