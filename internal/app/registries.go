package app

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/metrics"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
)

// registryPatience is how long a worker waits for a registry; the answer is there when it comes back.
const registryPatience = 3 * time.Second

// registries is the registry client as the rest of the manager needs it.
type registries struct {
	client        *registry.Client
	configuration *registry.RegistriesConf
	requests      *metrics.Registries
}

var _ importer.Registry = &registries{}

func newRegistries(cfg config.Config) (*registries, error) {
	report := func(err error) {
		ctrl.Log.WithName("registries").Error(err, "registries.conf cannot be used; what it said before still counts", "path", cfg.RegistriesConf)
	}
	configuration, err := registry.LoadRegistriesConf(cfg.RegistriesConf, report, clock.RealClock{})
	if err != nil {
		return nil, err
	}
	requests := metrics.NewRegistries()
	client, err := registry.New(registry.Options{
		Version: Version(), CAFile: cfg.RegistryCAFile, Proxy: cfg.Proxy.ProxyFunc(), Configuration: configuration, Around: requests.Around,
	})
	if err != nil {
		return nil, err
	}
	return &registries{client: client, configuration: configuration, requests: requests}, nil
}

// Resolve hands the pull secrets of a namespace to the registry client.
func (r *registries) Resolve(ctx context.Context, source reference.Source, secrets []corev1.Secret, terms importer.Terms) (string, []error, error) {
	keyring, malformed := registry.NewKeyring(secrets)
	digest, err := r.client.ResolveOn(ctx, source, keyring, registry.Terms{
		NotBefore: terms.NotBefore, Hint: terms.Poll, Asker: terms.Namespace, Patience: registryPatience,
	})
	return digest, malformed, err
}

// Turn says whether asking for the source is in vain now.
func (r *registries) Turn(ctx context.Context, source reference.Source) error {
	return r.client.Turn(ctx, source)
}

// UnqualifiedRegistry is the registry of images without one, empty meaning docker.io.
func (r *registries) UnqualifiedRegistry() string { return r.configuration.UnqualifiedRegistry() }
