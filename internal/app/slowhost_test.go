package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
	"github.com/images-io/tagger/test/harness"
)

// slowHost is a registry that takes a while for each manifest, and counts the requests for them, and the most at a time.
type slowHost struct {
	*httptest.Server
	delay                  time.Duration
	requests, active, most atomic.Int32
}

func (s *slowHost) serve(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/manifests/") {
		return
	}
	s.requests.Add(1)
	active := s.active.Add(1)
	defer s.active.Add(-1)
	for most := s.most.Load(); active > most && !s.most.CompareAndSwap(most, active); most = s.most.Load() {
	}
	<-time.After(s.delay)
	w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("a", 64))
	w.Header().Set("Content-Length", "100")
}

// TestSlowHost_ResolvesEachSourceOnce: whatever other Tags ask for meanwhile, each Tag gets the result of its request.
func TestSlowHost_ResolvesEachSourceOnce(t *testing.T) {
	const sources, sharing, limit, namespaces = 50, 4, 8, 5
	const rounds = (sources + limit - 1) / limit
	host := &slowHost{delay: 200 * time.Millisecond}
	host.Server = httptest.NewServer(http.HandlerFunc(host.serve))
	t.Cleanup(host.Close)
	address := strings.TrimPrefix(host.URL, "http://")
	conf := filepath.Join(t.TempDir(), "registries.conf")
	if err := harness.WriteRegistriesConf(conf, address); err != nil {
		t.Fatal(err)
	}
	registries, err := newRegistries(config.Config{RegistriesConf: conf, Proxy: &httpproxy.Config{}})
	if err != nil {
		t.Fatal(err)
	}
	queue, ended := jobs.New(clock.RealClock{}, 1), make(chan types.NamespacedName, sources*sharing)
	queue.OnEnd(func(tag types.NamespacedName) { ended <- tag })
	go func() { _ = queue.Start(t.Context()) }()
	imports := &importer.Importer{Registry: registries, Secrets: fake.NewClientBuilder().WithIndex(&corev1.Secret{}, "type", secretType).Build(), Jobs: queue}

	tags, options, start := map[types.NamespacedName]*v1.Tag{}, importer.Options{NotBefore: time.Now(), RequestKey: "1"}, time.Now()
	for i := range sources * sharing {
		key := types.NamespacedName{Namespace: fmt.Sprint("ns-", i%namespaces), Name: fmt.Sprint("tag-", i)}
		tags[key] = &v1.Tag{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID(key.Name)},
			Spec:       v1.TagSpec{From: fmt.Sprintf("%s/team/app:v%d", address, i%sources)},
		}
		if result, err := imports.Import(tags[key], options); err != nil || result.State != importer.InProgress {
			t.Fatalf("%v: %v", result, err)
		}
	}
	for range tags {
		select {
		case key := <-ended:
			if result, err := imports.Import(tags[key], options); err != nil || result.State != importer.Done {
				t.Errorf("%s: %v, %v", key, result, err)
			}
		case <-time.After(10 * rounds * host.delay):
			t.Fatalf("no result in %s", 10*rounds*host.delay)
		}
	}
	t.Logf("%d Tags of %d sources took %s, with at least %d rounds of %s", len(tags), sources, time.Since(start), rounds, host.delay)
	if got := host.requests.Load(); got != sources {
		t.Errorf("%d requests for %d sources", got, sources)
	}
	if got := host.most.Load(); got > limit {
		t.Errorf("%d requests at a time, want at most %d", got, limit)
	}
}

// secretType is the index of secrets by type, which the API server has.
func secretType(object client.Object) []string { return []string{string(object.(*corev1.Secret).Type)} }
