package app

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/metrics"
	"github.com/images-io/tagger/internal/mirror"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/copier"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/transport"
)

// registries is the registry client for the rest of the manager.
type registries struct {
	client        *registry.Client
	configuration *registriesconf.Config
	authorities   *transport.CABundle
	requests      *metrics.Registries
	mirror        *mirror.Mirror
}

var _ importer.Registry = &registries{}

func newRegistries(cfg config.Config) (*registries, error) {
	configuration, err := registriesconf.Load(cfg.RegistriesConf, reporting("registries.conf", cfg.RegistriesConf), clock.RealClock{})
	if err != nil {
		return nil, err
	}
	authorities, err := transport.LoadCABundle(cfg.RegistryCAFile, reporting("the bundle of CAs", cfg.RegistryCAFile), clock.RealClock{})
	if err != nil {
		return nil, err
	}
	requests := metrics.NewRegistries()
	client := registry.New(registry.Options{
		Options: transport.Options{
			Version: Version(), CABundle: authorities, Proxy: cfg.Proxy.ProxyFunc(), Configuration: configuration, Around: requests.Around,
		},
		Copies: copier.Limits{
			BlobsPerCopy: cfg.Mirror.BlobsPerCopy, MaxImageSize: cfg.Mirror.MaxImageSize.Value(),
			Attachments: cfg.Mirror.Attachments != config.AttachmentsIgnored, BestEffort: cfg.Mirror.Attachments == config.AttachmentsBestEffort,
		},
	})
	internal, err := mirror.New(client, cfg.Cache)
	if err != nil {
		return nil, err
	}
	return &registries{client: client, configuration: configuration, authorities: authorities, requests: requests, mirror: internal}, nil
}

// reporting returns a function that logs why an edited file is invalid.
func reporting(file, path string) func(error) {
	return func(err error) {
		ctrl.Log.WithName("registries").Error(err, "invalid file, keeping the previous configuration", "file", file, "path", path)
	}
}

// watch reloads the files that the administrator may edit.
func (r *registries) watch(_ context.Context, mgr ctrl.Manager) error {
	return errors.Join(mgr.Add(r.configuration), mgr.Add(r.authorities))
}

// Resolve hands the pull secrets of a namespace to the registry client. It returns errors for secrets that are malformed or too large.
func (r *registries) Resolve(ctx context.Context, source reference.Source, secrets importer.PullSecrets, options importer.ResolveOptions) (string, []error, error) {
	var keyring credentials.Keyring
	var malformed []error
	tooLarge, err := secrets(ctx, func(read []corev1.Secret) { keyring, malformed = r.client.KeyringFor(source, read) })
	if err != nil {
		return "", nil, err
	}
	digest, err := r.client.Resolve(ctx, source, keyring, registry.ResolveOptions(options))
	return digest, append(tooLarge, malformed...), err
}

// UnqualifiedRegistry returns the registry of images without one, empty meaning docker.io.
func (r *registries) UnqualifiedRegistry() string { return r.configuration.UnqualifiedRegistry() }
