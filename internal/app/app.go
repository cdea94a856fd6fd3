package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/metrics"
	"github.com/images-io/tagger/webhooks/admission"
)

// Run runs the manager until the context ends, and then stops it gracefully.
func Run(ctx context.Context, cluster *rest.Config, cfg config.Config) error {
	cluster.QPS = -1 // the API server's priority and fairness is the limit; client-go's own would let a rollback wait behind imports
	registries, err := newRegistries(cfg)
	if err != nil {
		return err
	}
	username, err := whoAmI(ctx, cluster)
	if err != nil {
		return err
	}
	mgr, err := newManager(cluster, cfg)
	if err != nil {
		return err
	}
	steps := []func(context.Context, ctrl.Manager) error{
		func(_ context.Context, mgr ctrl.Manager) error { return mgr.Add(registries.configuration) },
		addControllers(registries),
		addWebhooks(registries, username),
		addMetrics,
		addProbes,
	}
	for _, step := range steps {
		if err := step(ctx, mgr); err != nil {
			return err
		}
	}
	return mgr.Start(ctx)
}

// whoAmI is the manager's own name, as admission sees it.
func whoAmI(ctx context.Context, cluster *rest.Config) (string, error) {
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return "", fmt.Errorf("connecting to the API server: %w", err)
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("asking the API server who we are: %w", err)
	}
	return review.Status.UserInfo.Username, nil
}

func addControllers(registries *registries) func(context.Context, ctrl.Manager) error {
	return func(ctx context.Context, mgr ctrl.Manager) error {
		imports := metrics.NewImports(&importer.Importer{Registry: registries, Secrets: mgr.GetAPIReader()}, clock.RealClock{})
		memory := controllers.NewMemory(clock.RealClock{})
		registries.configuration.OnChange(memory.ConfigurationChanged)
		recorder := mgr.GetEventRecorder(v1.FieldManager)
		tags := controllers.TagReconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Importer: imports, Events: recorder, Clock: clock.RealClock{}, Memory: memory,
		}
		problems := []error{register(mgr, imports), tags.SetupWithManager(ctx, mgr)}
		for _, kind := range controllers.WorkloadKinds {
			workloads := controllers.WorkloadReconciler{Kind: kind, Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: recorder, Registries: registries}
			problems = append(problems, workloads.SetupWithManager(ctx, mgr))
		}
		return errors.Join(problems...)
	}
}

func addWebhooks(registries *registries, username string) func(context.Context, ctrl.Manager) error {
	return func(_ context.Context, mgr ctrl.Manager) error {
		server := mgr.GetWebhookServer()
		server.Register(admission.PathWorkloads, webhookFor(&admission.Pinner{
			Tags: mgr.GetClient(), Live: mgr.GetAPIReader(), Registries: registries, Username: username,
		}))
		server.Register(admission.PathDefaultTag, webhookFor(&admission.TagDefaulter{}))
		server.Register(admission.PathValidateTag, webhookFor(&admission.TagValidator{Registries: registries}))
		return nil
	}
}

func addMetrics(_ context.Context, mgr ctrl.Manager) error {
	return mgr.Add(&metrics.Tags{Reader: mgr.GetClient(), Registerer: ctrlmetrics.Registry})
}

// addProbes makes a replica ready when it can answer admission: the server listens and the Tags are in the cache.
func addProbes(ctx context.Context, mgr ctrl.Manager) error {
	tags, err := mgr.GetCache().GetInformer(ctx, &v1.Tag{})
	if err != nil {
		return fmt.Errorf("watching Tags: %w", err)
	}
	synced := func(*http.Request) error {
		if !tags.HasSynced() {
			return errors.New("the Tags are not in the cache yet")
		}
		return nil
	}
	return errors.Join(
		mgr.AddHealthzCheck("ping", func(*http.Request) error { return nil }),
		mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker()),
		mgr.AddReadyzCheck("tags", synced),
	)
}
