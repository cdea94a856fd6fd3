package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"
)

// importLimit bounds the import of a new Tag beside another namespace's faults. It takes 5 s at most on an idle machine.
const importLimit = 15 * time.Second

// tenant returns the user of another namespace, whose Tags go with the test.
func (u *user) tenant() *user {
	u.t.Helper()
	other := &user{t: u.t, namespace: u.namespace + "-other"}
	u.kubectl("create namespace " + other.namespace)
	u.t.Cleanup(func() { _, _ = other.runWith(context.Background(), "", "delete", "tag", "--all", "--wait=false") })
	return other
}

// fail waits until all Tags of a set failed.
func (u *user) fail(set string) {
	u.t.Helper()
	u.kubectl("wait --for=jsonpath={.status.lastImportAttempt.succeed}=false tag -l set=" + set + " --timeout=60s")
}

// isReadyInTime creates a Tag and fails the test unless it is Ready in time.
func (u *user) isReadyInTime(yaml string) {
	u.t.Helper()
	start := time.Now()
	u.with(yaml, "create -f -")
	output, err := u.run("", strings.Fields(fmt.Sprintf("wait --for=condition=Ready tag/victim --timeout=%s", importLimit))...)
	if err != nil {
		u.t.Fatalf("a new Tag is not Ready after %s: %v\n%s\n%s", importLimit, err, output, u.kubectl("get tag/victim -o jsonpath={.status}"))
	}
	u.t.Logf("a new Tag is Ready after %s", time.Since(start))
}

// TestFailingMirror_OtherNamespace has an internal registry that responds with 500 to the manifests of one namespace.
func TestFailingMirror_OtherNamespace(t *testing.T) {
	u := newUserAlone(t)
	other := u.tenant()
	mirror := world.faulty.open(failingFor(world.mirror.Address, func(r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/v2/"+other.namespace+"/") && strings.Contains(r.URL.Path, "/manifests/")
	}))
	u.hosts(mirror, asSeenByNodes(world.mirror.Address))
	defer u.hosts(world.mirror.Address, asSeenByNodes(world.mirror.Address))
	u.push("build 0")
	other.with(strings.ReplaceAll(tags("failing", 10, u.source()), "cache: false", "cache: true"), "create -f -")
	other.fail("failing")
	u.isReadyInTime(cachedYAML("victim", u.source()))
}

// TestFailingPath_OtherNamespace has Tags of one namespace at paths of a host that respond with 500.
func TestFailingPath_OtherNamespace(t *testing.T) {
	u := newUserAlone(t)
	other := u.tenant()
	image := strings.Replace(u.source(), world.registry.Address, world.faulty.shared, 1)
	u.push("build 0")
	other.with(sourcesYAML("failing", 10, world.faulty.shared+"/broken/app"), "create -f -")
	other.fail("failing")
	u.isReadyInTime(tagYAML("victim", image))
}

// TestSlowHost_OtherNamespace has more Tags of one namespace at a slow host than that serves in half a minute.
func TestSlowHost_OtherNamespace(t *testing.T) {
	u := newUserAlone(t)
	other := u.tenant()
	image := strings.Replace(u.source(), world.registry.Address, world.faulty.crowded, 1)
	u.push("build 0")
	other.with(sourcesYAML("crowd", 400, strings.TrimSuffix(image, "myapp:latest")+"missing"), "create -f -")
	u.isReadyInTime(tagYAML("victim", image))
}

// sourcesYAML returns Tags of a set, each with a source of its own.
func sourcesYAML(set string, count int, repository string) string {
	var all strings.Builder
	for i := range count {
		tag := tagYAML(fmt.Sprintf("%s-%d", set, i), fmt.Sprintf("%s-%d:latest", repository, i))
		all.WriteString("---\n" + strings.Replace(tag, "metadata:\n", "metadata:\n  labels: {set: "+set+"}\n", 1))
	}
	return all.String()
}

// failingFor passes requests on to a registry, apart from those that fail with 500.
func failingFor(registry string, fails func(*http.Request) bool) http.HandlerFunc {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	return func(w http.ResponseWriter, r *http.Request) {
		if fails(r) {
			http.Error(w, planted, http.StatusInternalServerError)
			return
		}
		proxy.ServeHTTP(w, r)
	}
}
