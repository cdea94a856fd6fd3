//go:build faults

package load

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
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
	*harness.World
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
	w := &world{World: harness.Start(t)}
	w.registry, w.mirror = w.Registry("registry"), w.Registry("mirror")
	_, err := cluster.PushImage(t.Context(), w.registry.Address+"/app:latest", "one")
	w.Must(err)
	for _, name := range []string{tenant, other} {
		w.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return w
}

// startManager starts bin/manager with the environment and the limit of config/manager.
func (w *world) startManager() {
	w.T.Helper()
	webhook, err := cluster.ReserveWebhook()
	w.Must(err)
	w.Must(cluster.Install(w.T.Context(), w.Cluster, webhook.Endpoint))
	shipped, err := cluster.ReadShippedLimits()
	w.Must(err)
	w.limit = shipped.Memory
	w.manager, err = cluster.StartManager(w.T.Context(), cluster.ManagerOptions{
		Dir: filepath.Join(w.Dir, "manager"), Cluster: w.Cluster, Webhook: webhook, RegistriesConf: w.RegistriesConf(w.registry.Address), CacheRegistry: w.mirror.Address, Env: shipped.Env,
	})
	w.Must(err)
	w.T.Cleanup(func() { w.Must(w.manager.Stop()) })
}

// endure checks that the manager never exited, and stayed within its limit.
func (w *world) endure() {
	w.T.Helper()
	if err := w.manager.Exited(); err != nil {
		w.T.Fatal(err)
	}
	peak, err := w.manager.PeakMemory()
	w.Must(err)
	w.T.Logf("the manager took at most %d MiB", peak>>20)
	if peak >= w.limit {
		w.T.Errorf("the manager took %d MiB of %d MiB", peak>>20, w.limit>>20)
	}
}

func (w *world) tag(namespace, name string, cache bool) *v1.Tag {
	return &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1.TagSpec{From: w.registry.Address + "/app", Cache: cache}}
}

// tags returns so many Tags of the tenant.
func (w *world) tags(count int, cache bool) (tags []*v1.Tag) {
	w.T.Helper()
	for i := range count {
		tag := w.tag(tenant, fmt.Sprintf("tag-%02d", i), cache)
		w.Create(tag)
		tags = append(tags, tag)
	}
	return tags
}

func (w *world) awaitReady(limit time.Duration, tags ...*v1.Tag) {
	w.T.Helper()
	began := time.Now()
	for _, tag := range tags {
		w.await(limit, func(ctx context.Context) (bool, error) {
			err := w.Client.Get(ctx, client.ObjectKeyFromObject(tag), tag)
			return tag.IsReady(), err
		})
	}
	w.T.Logf("%s and %d others were Ready after %s", tags[0].Name, len(tags)-1, time.Since(began).Round(time.Second/10))
}

func (w *world) awaitGone(limit time.Duration, tags ...*v1.Tag) {
	w.T.Helper()
	for _, tag := range tags {
		w.await(limit, func(ctx context.Context) (bool, error) {
			err := w.Client.Get(ctx, client.ObjectKeyFromObject(tag), tag)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
	}
}

func (w *world) await(limit time.Duration, condition wait.ConditionWithContextFunc) {
	w.T.Helper()
	err := wait.PollUntilContextTimeout(w.T.Context(), 100*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		if err := w.manager.Exited(); err != nil {
			return false, err
		}
		return condition(ctx)
	})
	if err != nil {
		w.endure()
		w.T.Fatal(err)
	}
}
