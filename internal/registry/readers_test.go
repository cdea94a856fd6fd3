package registry_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
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
	u := newUpstream(t, func(next http.Handler) http.Handler {
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
		want := u.push(t, repository, "latest", "one")
		asking.Go(func() {
			if got, err := resolve(t, client, u.host()+"/"+repository, nobody); err != nil || got != want {
				t.Errorf("%s: got %q, %v", repository, got, err)
			}
		})
	}
	asking.Wait()
	if most > atOnce {
		t.Errorf("%d manifests were read at a time, want at most %d", most, atOnce)
	}
}
