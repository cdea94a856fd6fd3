package certificates

import (
	"context"
	"fmt"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// How long a failed reconciliation waits for the next one, at first and at most.
const firstRetry, lastRetry = 100 * time.Millisecond, 10 * time.Second

// Add adds the controller to the manager, on every replica. It issues, renews and serves the certificate of an installation.
func Add(mgr ctrl.Manager, installation Installation, policy Policy, served *Served, clock clock.PassiveClock) error {
	// A separate cache: the manager's own has only the metadata of Secrets.
	objects, err := cluster.New(mgr.GetConfig(), func(options *cluster.Options) {
		options.Scheme, options.HTTPClient, options.Logger = mgr.GetScheme(), mgr.GetHTTPClient(), mgr.GetLogger()
		options.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mgr.GetRESTMapper(), nil }
		options.Cache = installation.cacheOptions()
	})
	if err != nil {
		return fmt.Errorf("watching the certificate: %w", err)
	}
	reconciler := &Reconciler{
		Installation: installation, Policy: policy, Client: objects.GetClient(), Live: objects.GetAPIReader(), Served: served, Clock: clock,
	}
	once := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: installation.Secret}}
	})
	builder := ctrl.NewControllerManagedBy(mgr).Named("certificates").WithOptions(controller.Options{
		NeedLeaderElection: ptr.To(false), // every replica serves
		RateLimiter:        workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
	})
	for _, object := range append(installation.configurations(), &corev1.Secret{}) {
		builder = builder.WatchesRawSource(source.Kind(objects.GetCache(), object, once))
	}
	if err := mgr.Add(objects); err != nil {
		return fmt.Errorf("watching the certificate: %w", err)
	}
	return builder.Complete(reconciler)
}

// cacheOptions returns the options of a cache of three objects, each selected by name, which is all that the shipped role
// allows.
func (i Installation) cacheOptions() cache.Options {
	named := func(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Namespaces: map[string]cache.Config{i.Secret.Namespace: {FieldSelector: named(i.Secret.Name)}}},
			&admissionv1.MutatingWebhookConfiguration{}:   {Field: named(i.Mutating)},
			&admissionv1.ValidatingWebhookConfiguration{}: {Field: named(i.Validating)},
		},
	}
}
