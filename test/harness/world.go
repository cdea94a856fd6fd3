package harness

import (
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/test/cluster"
)

// World is a control plane for one test.
type World struct {
	T *testing.T
	// Dir holds all files of the test.
	Dir     string
	Cluster *cluster.Cluster
	// Client is the administrator's.
	Client client.Client
}

// Start starts a control plane without workloads. It stops at the end of the test. Logs of clients in this process are dropped.
func Start(t *testing.T) *World {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	w := &World{T: t, Dir: t.TempDir()}
	var err error
	w.Cluster, err = cluster.Start(t.Context(), cluster.Options{Dir: filepath.Join(w.Dir, "cluster")})
	w.Must(err)
	t.Cleanup(func() { w.Must(w.Cluster.Stop()) })
	w.Client, err = client.New(w.Cluster.Config, client.Options{Scheme: Scheme()})
	w.Must(err)
	return w
}

// Registry starts a registry, which stops at the end of the test. Its files are in the folder name of Dir.
func (w *World) Registry(name string) *cluster.Registry {
	w.T.Helper()
	registry, err := cluster.StartRegistry(w.T.Context(), cluster.RegistryOptions{Dir: filepath.Join(w.Dir, name)})
	w.Must(err)
	w.T.Cleanup(func() { w.Must(registry.Stop()) })
	return registry
}

// RegistriesConf allows plain HTTP at the addresses, each host:port, and returns the path of the file.
func (w *World) RegistriesConf(addresses ...string) string {
	w.T.Helper()
	path := filepath.Join(w.Dir, "registries.conf")
	w.Must(WriteRegistriesConf(path, addresses...))
	return path
}

// Create creates an object.
func (w *World) Create(object client.Object) {
	w.T.Helper()
	w.Must(w.Client.Create(w.T.Context(), object))
}

// Must fails the test for an error.
func (w *World) Must(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}
