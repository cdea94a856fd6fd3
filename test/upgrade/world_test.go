package upgrade

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// patience bounds every wait.
const patience = 90 * time.Second

// world is a control plane, a registry, and an internal registry.
type world struct {
	*harness.World
	registry, mirror string
	manager          *cluster.Manager
	managers         int
	// digests are those of the source, oldest first.
	digests []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: harness.Start(t)}
	w.registry, w.mirror = w.startRegistry(), w.startRegistry()
	return w
}

// startRegistry starts a registry in this process, and returns its address.
func (w *world) startRegistry() string {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	w.T.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// startManager installs the manifests of a folder, and starts a manager.
func (w *world) startManager(config, program string) {
	w.T.Helper()
	webhook, err := cluster.ReserveWebhook()
	w.Must(err)
	w.Must(cluster.InstallFrom(w.T.Context(), w.Cluster, config, webhook.Endpoint))
	w.managers++
	w.manager, err = cluster.StartManager(w.T.Context(), cluster.ManagerOptions{
		Dir: filepath.Join(w.Dir, fmt.Sprint("manager-", w.managers)), Cluster: w.Cluster, Webhook: webhook, RegistriesConf: w.RegistriesConf(w.registry), CacheRegistry: w.mirror, Program: program,
	})
	w.Must(err)
	w.T.Cleanup(func() {
		if w.manager != nil {
			w.stopManager()
		}
	})
}

// startCurrent installs config/default and starts bin/manager.
func (w *world) startCurrent() {
	w.T.Helper()
	root, err := cluster.Root()
	w.Must(err)
	w.startManager(filepath.Join(root, "config", "default"), "")
}

func (w *world) stopManager() {
	w.T.Helper()
	w.Must(w.manager.Stop())
	w.manager = nil
}

// eventually waits until a condition holds.
func (w *world) eventually(what string, condition func(context.Context) error) {
	w.T.Helper()
	harness.Eventually(w.T, what, patience, condition)
}
