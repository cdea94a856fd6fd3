//go:build faults

package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

const (
	// tenant is the full namespace, and other is another tenant's.
	tenant, other = "tenant", "other"
	// promised is the time until a Tag of another namespace is Ready; tests wait three times as long.
	promised = 10 * time.Second
	patience = 3 * promised
	// settled bounds the waits of the tenant.
	settled = 4 * time.Minute
)

// world is a control plane, a registry, an internal registry, and a manager as it ships.
type world struct {
	t                *testing.T
	dir              string
	cluster          *cluster.Cluster
	admin            client.Client
	registry, mirror *cluster.Registry
	manager          *cluster.Manager
	limit            uint64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newWorldWithoutManager(t)
	w.startManager()
	return w
}

func newWorldWithoutManager(t *testing.T) *world {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // logs of the tests' own clients
	w := &world{t: t, dir: t.TempDir()}
	var err error
	w.cluster, err = cluster.Start(t.Context(), cluster.Options{Dir: filepath.Join(w.dir, "cluster")})
	w.do(err)
	t.Cleanup(func() { w.do(w.cluster.Stop()) })
	w.registry, err = cluster.StartRegistry(t.Context(), cluster.RegistryOptions{Dir: filepath.Join(w.dir, "registry")})
	w.do(err)
	t.Cleanup(func() { w.do(w.registry.Stop()) })
	w.mirror, err = cluster.StartRegistry(t.Context(), cluster.RegistryOptions{Dir: filepath.Join(w.dir, "mirror")})
	w.do(err)
	t.Cleanup(func() { w.do(w.mirror.Stop()) })
	scheme := runtime.NewScheme()
	w.do(errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)))
	w.admin, err = client.New(w.cluster.Config, client.Options{Scheme: scheme})
	w.do(err)
	_, err = cluster.PushImage(t.Context(), w.registry.Address+"/app:latest", "one")
	w.do(err)
	for _, name := range []string{tenant, other} {
		w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return w
}

// startManager starts bin/manager with the environment and the limit of config/manager.
func (w *world) startManager() {
	w.t.Helper()
	webhook, err := cluster.ReserveWebhook()
	w.do(err)
	w.do(cluster.Install(w.t.Context(), w.cluster, webhook.Endpoint))
	conf := filepath.Join(w.dir, "registries.conf")
	w.do(os.WriteFile(conf, fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n", w.registry.Address), 0o600))
	shipped, err := cluster.ReadShippedLimits()
	w.do(err)
	w.limit = shipped.Memory
	w.manager, err = cluster.StartManager(w.t.Context(), cluster.ManagerOptions{
		Dir: filepath.Join(w.dir, "manager"), Cluster: w.cluster, Webhook: webhook, RegistriesConf: conf, CacheRegistry: w.mirror.Address, Env: shipped.Env,
	})
	w.do(err)
	w.t.Cleanup(func() { w.do(w.manager.Stop()) })
}

// endure checks that the manager never exited, and stayed within its limit.
func (w *world) endure() {
	w.t.Helper()
	if err := w.manager.Exited(); err != nil {
		w.t.Fatal(err)
	}
	peak, err := w.manager.PeakMemory()
	w.do(err)
	w.t.Logf("the manager took at most %d MiB", peak>>20)
	if peak >= w.limit {
		w.t.Errorf("the manager took %d MiB of %d MiB", peak>>20, w.limit>>20)
	}
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(object client.Object) {
	w.t.Helper()
	w.do(w.admin.Create(w.t.Context(), object))
}

func (w *world) tag(namespace, name string, cache bool) *v1.Tag {
	return &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1.TagSpec{From: w.registry.Address + "/app", Cache: cache}}
}

// tags returns so many Tags of the tenant.
func (w *world) tags(count int, cache bool) (tags []*v1.Tag) {
	w.t.Helper()
	for i := range count {
		tag := w.tag(tenant, fmt.Sprintf("tag-%02d", i), cache)
		w.create(tag)
		tags = append(tags, tag)
	}
	return tags
}

func (w *world) awaitReady(limit time.Duration, tags ...*v1.Tag) {
	w.t.Helper()
	began := time.Now()
	for _, tag := range tags {
		w.await(limit, func(ctx context.Context) (bool, error) {
			err := w.admin.Get(ctx, client.ObjectKeyFromObject(tag), tag)
			return tag.IsReady(), err
		})
	}
	w.t.Logf("%s and %d others were Ready after %s", tags[0].Name, len(tags)-1, time.Since(began).Round(time.Second/10))
}

func (w *world) awaitGone(limit time.Duration, tags ...*v1.Tag) {
	w.t.Helper()
	for _, tag := range tags {
		w.await(limit, func(ctx context.Context) (bool, error) {
			err := w.admin.Get(ctx, client.ObjectKeyFromObject(tag), tag)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
	}
}

func (w *world) await(limit time.Duration, condition wait.ConditionWithContextFunc) {
	w.t.Helper()
	err := wait.PollUntilContextTimeout(w.t.Context(), 100*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		if err := w.manager.Exited(); err != nil {
			return false, err
		}
		return condition(ctx)
	})
	if err != nil {
		w.endure()
		w.t.Fatal(err)
	}
}
