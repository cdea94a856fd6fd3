package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-containerregistry/pkg/registry"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

// patience bounds every wait.
const patience = 90 * time.Second

// world is a control plane, a registry, and an internal registry.
type world struct {
	t                *testing.T
	dir              string
	cluster          *cluster.Cluster
	client           client.Client
	registry, mirror string
	manager          *cluster.Manager
	managers         int
	// digests are those of the source, oldest first.
	digests []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // logs of the tests' own clients
	w := &world{t: t, dir: t.TempDir()}
	var err error
	w.cluster, err = cluster.Start(t.Context(), cluster.Options{Dir: filepath.Join(w.dir, "cluster")})
	w.do(err)
	t.Cleanup(func() { w.do(w.cluster.Stop()) })
	scheme := runtime.NewScheme()
	w.do(errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)))
	w.client, err = client.New(w.cluster.Config, client.Options{Scheme: scheme})
	w.do(err)
	w.registry, w.mirror = w.startRegistry(), w.startRegistry()
	return w
}

// startRegistry starts a registry in this process, and returns its address.
func (w *world) startRegistry() string {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	w.t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// startManager installs the manifests of a folder, and starts a manager.
func (w *world) startManager(config, program string) {
	w.t.Helper()
	webhook, err := cluster.ReserveWebhook()
	w.do(err)
	w.do(cluster.InstallFrom(w.t.Context(), w.cluster, config, webhook.Endpoint))
	conf := filepath.Join(w.dir, "registries.conf")
	w.do(os.WriteFile(conf, fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n", w.registry), 0o600))
	w.managers++
	w.manager, err = cluster.StartManager(w.t.Context(), cluster.ManagerOptions{
		Dir: filepath.Join(w.dir, fmt.Sprint("manager-", w.managers)), Cluster: w.cluster, Webhook: webhook, RegistriesConf: conf, CacheRegistry: w.mirror, Program: program,
	})
	w.do(err)
	w.t.Cleanup(func() {
		if w.manager != nil {
			w.stopManager()
		}
	})
}

// startCurrent installs config/default and starts bin/manager.
func (w *world) startCurrent() {
	w.t.Helper()
	root, err := cluster.Root()
	w.do(err)
	w.startManager(filepath.Join(root, "config", "default"), "")
}

func (w *world) stopManager() {
	w.t.Helper()
	w.do(w.manager.Stop())
	w.manager = nil
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func (w *world) eventually(what string, condition func(context.Context) error) {
	w.t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(w.t.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		err := condition(ctx)
		if ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		w.t.Fatalf("%s: not within %s: %v", what, patience, last)
	}
}
