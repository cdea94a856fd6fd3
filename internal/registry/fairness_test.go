package registry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// traps are hosts that answer at first, so that everybody waits for them.
type traps struct {
	hosts    []string
	isSprung atomic.Bool
	// held are the questions that get no answer before the test ends.
	held atomic.Int32
}

func newTraps(t *testing.T, count int) *traps {
	t.Helper()
	made, release := &traps{}, make(chan struct{})
	for range count {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if made.isSprung.Load() && strings.Contains(r.URL.Path, "/manifests/") {
				made.held.Add(1)
				<-release
			}
			w.Header().Set("Docker-Content-Digest", digest.FromString("bait").String())
		}))
		t.Cleanup(server.Close)
		made.hosts = append(made.hosts, server.Listener.Addr().String())
	}
	t.Cleanup(func() { close(release) })
	return made
}

// insecure are entries of a registries.conf for hosts with plain HTTP.
func insecure(hosts ...string) string {
	return strings.ReplaceAll(listed(hosts...), "[[registry]]\n", "[[registry]]\ninsecure = true\n")
}

// TestHalfOfTheWorkersAreFreeWhateverHostsPromise: hosts that answered once may stall, as many as there are.
func TestHalfOfTheWorkersAreFreeWhateverHostsPromise(t *testing.T) {
	for _, row := range []struct {
		name              string
		namespaces, hosts int
		held              int32 // how many questions get no answer at the worst
	}{
		{name: "enough to have all workers wait", namespaces: 2, hosts: 8, held: 64},
		{name: "enough to have all questions under way that there may be", namespaces: 8, hosts: 64, held: 256},
	} {
		t.Run(row.name, func(t *testing.T) {
			hostile, good := newTraps(t, row.hosts), newUpstream(t, nil)
			client := newClient(t, good, configuredBy(t, "%s", listed(good.host())+insecure(hostile.hosts...)))
			from := func(host, tag int) string {
				return fmt.Sprintf("%s/hostile-%d/app:v%d", hostile.hosts[host], host%row.namespaces, tag)
			}
			const patience = 30 * time.Second // longer than the test takes
			tags := newReconciler(t, client, patience)
			for host := range row.hosts {
				tags.ask(t, from(host, 0))
			}
			eventually(t, func() bool { return tags.answered.Load() == int32(row.hosts) })
			hostile.isSprung.Store(true)
			for host := range row.hosts {
				for tag := range 20 {
					tags.ask(t, from(host, tag+1))
				}
			}
			eventually(t, func() bool { return hostile.held.Load() >= row.held })
			start := time.Now()
			for tag := range 20 {
				good.push(t, "good/app", fmt.Sprintf("v%d", tag), fmt.Sprint(tag))
				tags.ask(t, fmt.Sprintf("%s/good/app:v%d", good.host(), tag))
			}
			if !happens(3*time.Second, func() bool { return tags.answered.Load() == int32(row.hosts+20) }) { // three times what it may take
				t.Fatalf("%d of 20 are answered in 3 s", tags.answered.Load()-int32(row.hosts))
			}
			t.Logf("20 Tags took %s while %d questions got no answer", time.Since(start), hostile.held.Load())
		})
	}
}
