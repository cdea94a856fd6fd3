package app

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
)

// registries is the registry client as the rest of the manager needs it.
type registries struct {
	client        *registry.Client
	configuration *registry.RegistriesConf
	authorities   *registry.Authorities
}

var _ importer.Registry = &registries{}

func newRegistries(cfg config.Config) (*registries, error) {
	configuration, err := registry.LoadRegistriesConf(cfg.RegistriesConf, reporting("registries.conf", cfg.RegistriesConf), clock.RealClock{})
	if err != nil {
		return nil, err
	}
	authorities, err := registry.LoadAuthorities(cfg.RegistryCAFile, reporting("the bundle of CAs", cfg.RegistryCAFile), clock.RealClock{})
	if err != nil {
		return nil, err
	}
	client := registry.New(registry.Options{
		Version: Version(), Authorities: authorities, Proxy: cfg.Proxy.ProxyFunc(), Configuration: configuration,
	})
	return &registries{client: client, configuration: configuration, authorities: authorities}, nil
}

// reporting logs what is wrong with a file that was edited.
func reporting(file, path string) func(error) {
	return func(err error) {
		ctrl.Log.WithName("registries").Error(err, "a file cannot be used; what it said before still counts", "file", file, "path", path)
	}
}

// watch has the files looked at that the administrator may edit.
func (r *registries) watch(_ context.Context, mgr ctrl.Manager) error {
	return errors.Join(mgr.Add(r.configuration), mgr.Add(r.authorities))
}

// Resolve hands the pull secrets of a namespace to the registry client.
func (r *registries) Resolve(ctx context.Context, source reference.Source, secrets []corev1.Secret) (string, []error, error) {
	keyring, malformed := registry.NewKeyring(secrets)
	digest, err := r.client.Resolve(ctx, source, keyring)
	return digest, malformed, err
}

// UnqualifiedRegistry is the registry of images without one, empty meaning docker.io.
func (r *registries) UnqualifiedRegistry() string { return r.configuration.UnqualifiedRegistry() }
