package mirror

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
)

// Mirror is the internal registry: the one of the environment, or else the one of a ConfigMap (KEP-1755), which may change at
// any time.
type Mirror struct {
	client      *registry.Client
	credentials config.CacheRegistry

	mu sync.Mutex
	at reference.Mirror
	// problem says why there is no internal registry.
	problem error
	changed func()
}

var _ importer.Mirror = &Mirror{}

var errNoMirror = errors.New("spec.cache is true, and Tagger has no internal registry: set CACHE_REGISTRY_ADDRESS in the Secret cache-registry of Tagger's namespace and restart the manager, " +
	"or create the ConfigMap local-registry-hosting in the namespace kube-public (KEP-1755); or set spec.cache to false to use the image from its source")

// New returns the internal registry of the configuration. It returns an error if its address is invalid.
func New(client *registry.Client, cfg config.CacheRegistry) (*Mirror, error) {
	m := &Mirror{client: client, credentials: cfg, problem: errNoMirror, changed: func() {}}
	if cfg.Address == "" {
		m.credentials = config.CacheRegistry{Insecure: true} // the KEP has plain HTTP and no passwords
		return m, nil
	}
	m.at, m.problem = reference.ParseMirror(cfg.Address, cfg.Address)
	return m, m.problem
}

// Watch uses the ConfigMap, unless the environment sets the internal registry.
func (m *Mirror) Watch(ctx context.Context, mgr ctrl.Manager) error {
	if m.problem == nil {
		return nil
	}
	hosting, err := mgr.GetCache().GetInformer(ctx, &corev1.ConfigMap{})
	if err != nil {
		return fmt.Errorf("watching the ConfigMap of the internal registry: %w", err)
	}
	_, err = hosting.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    m.learn,
		UpdateFunc: func(_, updated any) { m.learn(updated) },
		DeleteFunc: func(any) { m.set(reference.Mirror{}, errNoMirror) },
	})
	if err != nil {
		return fmt.Errorf("watching the ConfigMap of the internal registry: %w", err)
	}
	return nil
}

func (m *Mirror) learn(object any) {
	hosting, ok := object.(*corev1.ConfigMap)
	if !ok {
		return
	}
	at, err := localRegistry(hosting.Data)
	if err != nil {
		err = fmt.Errorf("the ConfigMap %s in the namespace %s cannot be used: %w", hosting.Name, hosting.Namespace, err)
		ctrl.Log.WithName("mirror").Error(err, "invalid ConfigMap, continuing without an internal registry")
	}
	m.set(at, err)
}

func (m *Mirror) set(at reference.Mirror, problem error) {
	m.mu.Lock()
	isNews := m.at != at || fmt.Sprint(m.problem) != fmt.Sprint(problem)
	m.at, m.problem = at, problem
	changed := m.changed
	m.mu.Unlock()
	if isNews {
		ctrl.Log.WithName("mirror").Info("the internal registry changed", "address", at.String(), "configured", problem == nil)
		changed()
	}
}

// OnChange sets the function that is called when the internal registry changes.
func (m *Mirror) OnChange(changed func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed = changed
}

// Destination returns the current internal registry.
func (m *Mirror) Destination() (reference.Mirror, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.problem != nil {
		return reference.Mirror{}, notConfigured{m.problem}
	}
	return m.at, nil
}

// notConfigured is a failure that an administrator fixes.
type notConfigured struct{ error }

// Reason implements importer.Failure.
func (notConfigured) Reason() v1.Reason { return v1.ReasonMirrorNotConfigured }
