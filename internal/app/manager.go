package app

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "github.com/images-io/tagger/api/v1"
	backstopcontroller "github.com/images-io/tagger/controllers/backstop"
	"github.com/images-io/tagger/internal/cachetransform"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/mirror"
	"github.com/images-io/tagger/internal/workloadkind"
)

// gracefulStop bounds the shutdown: admission requests and imports in progress complete, then the manager releases the lease.
const gracefulStop = 10 * time.Second

// leaderElectionID is the name of the lease.
const leaderElectionID = "tagger.images.io"

func newManager(cluster *rest.Config, cfg config.Config, serving servingCertificate) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	metricsOptions := metricsserver.Options{BindAddress: cfg.MetricsAddress, SecureServing: cfg.MetricsSecure}
	if cfg.MetricsSecure {
		metricsOptions.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	mgr, err := ctrl.NewManager(cluster, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metricsOptions,
		HealthProbeBindAddress:        cfg.HealthAddress,
		PprofBindAddress:              cfg.PprofAddress,
		WebhookServer:                 newWebhookServer(cfg, serving),
		LeaderElection:                cfg.LeaderElect,
		LeaderElectionID:              leaderElectionID,
		LeaderElectionNamespace:       cfg.LeaderElectionNamespace,
		LeaseDuration:                 &cfg.LeaseDuration,
		RenewDeadline:                 &cfg.RenewDeadline,
		RetryPeriod:                   &cfg.RetryPeriod,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       ptr.To(gracefulStop),
		Cache:                         cacheOptions(),
		Controller:                    ctrlconfig.Controller{SkipNameValidation: ptr.To(true), EnableWarmup: ptr.To(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("creating the manager: %w", err)
	}
	return mgr, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("registering the API types: %w", err)
		}
	}
	return scheme, nil
}

// cacheOptions returns the options of the informer cache. The cache drops what Tagger does not read: managedFields, most of
// every workload, and of secrets all but the identity of pull secrets. Of policies, definitions and ConfigMaps it holds
// Tagger's own, the only ones that the manager may list.
func cacheOptions() cache.Options {
	pullSecret := &metav1.PartialObjectMetadata{}
	pullSecret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	isPullSecret := fields.OneTermEqualSelector("type", string(corev1.SecretTypeDockerConfigJson))
	byObject := map[client.Object]cache.ByObject{
		&v1.Tag{}:  {Transform: cachetransform.Tag},
		pullSecret: {Transform: cachetransform.Secret, Field: isPullSecret},
		&admissionregistrationv1.ValidatingAdmissionPolicy{}:        named(backstopcontroller.Name),
		&admissionregistrationv1.ValidatingAdmissionPolicyBinding{}: named(backstopcontroller.Name),
		&apiextensionsv1.CustomResourceDefinition{}:                 named(backstopcontroller.TagDefinition),
		&corev1.ConfigMap{}: {
			Namespaces: map[string]cache.Config{mirror.ConfigMapNamespace: {}}, Field: fields.OneTermEqualSelector(metav1.ObjectNameField, mirror.ConfigMapName),
		},
	}
	for _, kind := range workloadkind.All {
		byObject[kind.New()] = cache.ByObject{Transform: cachetransform.Workload(kind)}
	}
	return cache.Options{DefaultTransform: cache.TransformStripManagedFields(), ByObject: byObject}
}

func named(name string) cache.ByObject {
	return cache.ByObject{Field: fields.OneTermEqualSelector(metav1.ObjectNameField, name)}
}

// register adds a collector, and removes it when the manager stops, so that a later manager of this process can register its
// own.
func register(mgr manager.Manager, collector prometheus.Collector) error {
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		if err := ctrlmetrics.Registry.Register(collector); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
		<-ctx.Done()
		ctrlmetrics.Registry.Unregister(collector)
		return nil
	}))
}
