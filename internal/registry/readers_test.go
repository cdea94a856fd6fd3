package registry_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

// TestFewManifestsAreReadAtOnce: however many Tags name registries that tell no digest and take their time to send a
// manifest, what is held of manifests is bounded.
func TestFewManifestsAreReadAtOnce(t *testing.T) {
	const questions, atOnce = 32, 4
	var heads sync.WaitGroup
	heads.Add(questions)
	var mutex sync.Mutex
	reading, most := 0, 0
	read := func(step int) {
		mutex.Lock()
		defer mutex.Unlock()
		reading += step
		most = max(most, reading)
	}
	u := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodHead:
				heads.Done()
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			case strings.Contains(r.URL.Path, "/manifests/"):
				read(1)
				defer read(-1)
				heads.Wait() // until everybody is about to read
			}
			next.ServeHTTP(w, r)
		})
	})
	client := newClient(t, u)
	var asking sync.WaitGroup
	for i := range questions {
		repository := fmt.Sprintf("team/app%d", i)
		want := u.Push(t, repository, "latest", "one")
		asking.Go(func() {
			terms := registry.ResolveOptions{NotBefore: time.Now(), Namespace: repository}
			if got, err := resolveOn(t, client, u.Host()+"/"+repository, terms); err != nil || got != want {
				t.Errorf("%s: got %q, %v", repository, got, err)
			}
		})
	}
	asking.Wait()
	if most > atOnce {
		t.Errorf("%d manifests were read at a time, want at most %d", most, atOnce)
	}
}

// TestOneNamespaceLeavesReadersToOthers: its registry sends manifests byte by byte, for as long as there is time.
func TestOneNamespaceLeavesReadersToOthers(t *testing.T) {
	const questions, ofOne = 8, 2
	var heads, reading atomic.Int32
	release := make(chan struct{})
	dripping := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			heads.Add(1)
			w.WriteHeader(http.StatusMethodNotAllowed)
		case strings.Contains(r.URL.Path, "/manifests/"):
			reading.Add(1)
			for released := false; !released; {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-release:
					released = true
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
	}))
	t.Cleanup(dripping.Close)
	t.Cleanup(func() { close(release) })
	good := registrytest.NewUpstream(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	host := dripping.Listener.Addr().String()
	client := newClient(t, good, configuredBy(t, "%s", registrytest.Listed(good.Host())+registrytest.Insecure(host)))
	ctx, cancel := context.WithCancel(t.Context())
	ask := func(from, namespace string) (string, error) {
		source, err := reference.Parse(from, "")
		if err != nil {
			return "", err
		}
		return client.Resolve(ctx, source, anonymous, registry.ResolveOptions{NotBefore: time.Now(), Namespace: namespace})
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for tag := range questions {
		asking.Go(func() {
			if got, err := ask(fmt.Sprintf("%s/hostile/app:v%d", host, tag), "hostile"); err == nil {
				t.Errorf("got %s, which was never sent", got)
			}
		})
	}
	eventually(t, func() bool { return heads.Load() == questions && reading.Load() >= ofOne })
	time.AfterFunc(10*time.Second, cancel)
	for tag := range questions {
		want := good.Push(t, "good/app", fmt.Sprintf("v%d", tag), fmt.Sprint(tag))
		if got, err := ask(fmt.Sprintf("%s/good/app:v%d", good.Host(), tag), "good"); got != want {
			t.Fatalf("beside %d slow manifests: got %q, %v", reading.Load(), got, err)
		}
	}
	if count := reading.Load(); count > ofOne {
		t.Errorf("%d manifests are read for one namespace, want at most %d", count, ofOne)
	}
}
