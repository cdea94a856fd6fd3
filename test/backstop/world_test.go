package backstop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// patience bounds every wait without a promise. An API server looks for new definitions every 30 s, so that the policy may take
// as long.
const patience = 100 * time.Second

const namespace = metav1.NamespaceDefault

// world is a control plane with one of the installations of testdata.
type world struct {
	t       *testing.T
	cluster *cluster.Cluster
	webhook *cluster.Webhook
	api     client.Client
	dir     string
}

// newWorld starts a control plane with workloads, and installs Tagger.
func newWorld(t *testing.T, installation string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	var err error
	if w.cluster, err = cluster.Start(t.Context(), cluster.Options{Dir: filepath.Join(w.dir, "cluster"), WithWorkloads: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.must(w.cluster.Stop()) })
	w.webhook, err = cluster.NewWebhook(filepath.Join(w.dir, "webhook"))
	w.must(err)
	w.api, err = client.New(w.cluster.Config, client.Options{Scheme: harness.Scheme()})
	w.must(err)
	w.install(installation)
	return w
}

// install applies an installation, again or for the first time.
func (w *world) install(installation string) {
	w.t.Helper()
	root, err := cluster.Root()
	w.must(err)
	folder := filepath.Join(root, "config", "default")
	if installation != "default" {
		folder = filepath.Join(root, "test", "backstop", "testdata", installation)
	}
	w.must(cluster.InstallFrom(w.t.Context(), w.cluster, folder, w.webhook.Endpoint))
}

// manager runs bin/manager until the test calls the returned function, or ends.
func (w *world) manager(args ...string) (stop func()) {
	w.t.Helper()
	manager, err := cluster.StartManager(w.t.Context(), cluster.ManagerOptions{
		Dir: filepath.Join(w.dir, "manager"), Log: w.logFile(), Cluster: w.cluster, Webhook: w.webhook, RegistriesConf: w.registriesConf(), Args: args,
	})
	w.must(err)
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			w.must(manager.Stop())
		}
	}
	w.t.Cleanup(stop)
	return stop
}

func (w *world) registriesConf() string { return filepath.Join(w.dir, "registries.conf") }

func (w *world) logFile() string { return filepath.Join(w.dir, "manager.log") }

// said counts a text in the logs of the managers of this world.
func (w *world) said(text string) int {
	w.t.Helper()
	log, err := os.ReadFile(w.logFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return bytes.Count(log, []byte(text))
}

// imported starts a registry, and creates a Tag of that name while a manager runs. It returns the Tag's image.
func (w *world) imported(name string, args ...string) string {
	w.t.Helper()
	registry, err := cluster.StartRegistry(w.t.Context(), cluster.RegistryOptions{Dir: w.t.TempDir()})
	w.must(err)
	w.t.Cleanup(func() { w.must(registry.Stop()) })
	w.must(harness.WriteRegistriesConf(w.registriesConf(), registry.Address))
	repository := registry.Address + "/company/" + name
	digest, err := cluster.PushImage(w.t.Context(), repository+":latest", name)
	w.must(err)
	defer w.manager(args...)()
	tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1.TagSpec{From: repository + ":latest"}}
	w.eventually("a Tag", patience, func() error { return client.IgnoreAlreadyExists(w.api.Create(w.t.Context(), tag.DeepCopy())) })
	w.eventually("its import", patience, func() error {
		if err := w.get(tag); err != nil {
			return err
		}
		return unless(tag.IsReady(), "it is %s", tag.NotReadyReason())
	})
	return repository + "@" + digest
}

// get reads an object again.
func (w *world) get(object client.Object) error {
	return w.api.Get(w.t.Context(), client.ObjectKeyFromObject(object), object)
}

// gone returns an error while an object exists.
func (w *world) gone(object client.Object) error {
	if err := w.get(object); err != nil {
		return client.IgnoreNotFound(err)
	}
	return fmt.Errorf("%T %s is there", object, object.GetName())
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func (w *world) eventually(what string, within time.Duration, condition func() error) {
	w.t.Helper()
	harness.Eventually(w.t, what, within, func(context.Context) error { return condition() })
}
