package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/config/backstop"
	backstopcontroller "github.com/images-io/tagger/controllers/backstop"
	tagcontroller "github.com/images-io/tagger/controllers/tag"
	"github.com/images-io/tagger/controllers/tag/prune"
	"github.com/images-io/tagger/controllers/tag/state"
	workloadcontroller "github.com/images-io/tagger/controllers/workload"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
	"github.com/images-io/tagger/internal/metrics"
	"github.com/images-io/tagger/internal/workloadkind"
	"github.com/images-io/tagger/webhooks/admission"
)

// Run runs the manager until the context ends, and then stops it gracefully.
func Run(ctx context.Context, cluster *rest.Config, cfg config.Config) error {
	cluster = clientConfig(cluster)
	registries, err := newRegistries(cfg)
	if err != nil {
		return err
	}
	username, err := ownUsername(ctx, cluster)
	if err != nil {
		return err
	}
	serving, err := newServingCertificate(cfg)
	if err != nil {
		return err
	}
	mgr, err := newManager(cluster, cfg, serving)
	if err != nil {
		return err
	}
	steps := []func(context.Context, ctrl.Manager) error{
		registries.watch,
		registries.mirror.Watch,
		addControllers(registries, cfg),
		addBackstop(cfg),
		addWebhooks(registries, username),
		addCertificate(cfg, serving),
		addPush(cfg.Push),
		addProbes,
	}
	for _, step := range steps {
		if err := step(ctx, mgr); err != nil {
			return err
		}
	}
	defer utilnet.CloseIdleConnectionsFor(mgr.GetHTTPClient().Transport)
	return mgr.Start(ctx)
}

// clientConfig returns the configuration of every client of the manager, including those for events and the lease. Only the API
// server's priority and fairness limit them (docs/adr/0007): with client-go's own limit a rollback would wait for imports.
func clientConfig(cluster *rest.Config) *rest.Config {
	cluster = rest.CopyConfig(cluster)
	cluster.QPS = -1
	cluster.UserAgent = fmt.Sprintf("tagger/%s (%s/%s)", Version(), runtime.GOOS, runtime.GOARCH)
	cluster.Wrap(func(next http.RoundTripper) http.RoundTripper { return reconnecting{next} })
	return cluster
}

func addControllers(registries *registries, cfg config.Config) func(context.Context, ctrl.Manager) error {
	return func(ctx context.Context, mgr ctrl.Manager) error {
		queue, copies := jobs.New(clock.RealClock{}, cfg.Mirror.ConcurrentCopies), metrics.NewMirror(registries.mirror)
		imports := metrics.NewImports(&importer.Importer{
			Registry: registries, Secrets: mgr.GetAPIReader(), Mirror: copies, Jobs: queue,
		}, clock.RealClock{})
		memory := state.NewState(clock.RealClock{})
		registries.configuration.OnChange(memory.ConfigurationChanged)
		registries.mirror.OnChange(memory.ConfigurationChanged)
		recorder := mgr.GetEventRecorder(v1.FieldManager)
		tags := tagcontroller.Reconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Importer: imports, Jobs: queue,
			Pruner:         &prune.Pruner{Live: mgr.GetAPIReader(), Registry: registries.mirror},
			VerifyInterval: cfg.Mirror.VerifyInterval, Events: recorder, Clock: clock.RealClock{}, State: memory,
		}
		problems := []error{register(mgr, imports), mgr.Add(&metrics.Tags{Reader: mgr.GetClient(), Imports: imports, Registerer: ctrlmetrics.Registry}), register(mgr, registries.requests), register(mgr, copies), mgr.Add(queue), tags.SetupWithManager(ctx, mgr)}
		for _, kind := range workloadkind.All {
			workloads := workloadcontroller.Reconciler{Kind: kind, Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: recorder, Registries: registries, Clock: clock.RealClock{}}
			problems = append(problems, workloads.SetupWithManager(ctx, mgr))
		}
		return errors.Join(problems...)
	}
}

// addBackstop adds the controller of the backstop, unless the installation provides the backstop.
func addBackstop(cfg config.Config) func(context.Context, ctrl.Manager) error {
	return func(ctx context.Context, mgr ctrl.Manager) error {
		if cfg.Backstop == config.BackstopInstalled {
			return nil
		}
		reconciler := backstopcontroller.Reconciler{
			Client: mgr.GetClient(), Manifest: backstop.Manifest, Namespace: cfg.LeaderElectionNamespace, Off: cfg.Backstop == config.BackstopOff,
		}
		return reconciler.SetupWithManager(ctx, mgr)
	}
}

func addWebhooks(registries *registries, username string) func(context.Context, ctrl.Manager) error {
	return func(_ context.Context, mgr ctrl.Manager) error {
		server, reviews := mgr.GetWebhookServer(), newReviews()
		server.Register(admission.PathWorkloads, reviews.limit(webhookFor(&admission.Pinner{
			Tags: mgr.GetClient(), Live: mgr.GetAPIReader(), Registries: registries, Username: username,
		})))
		server.Register(admission.PathDefaultTag, reviews.limit(webhookFor(&admission.TagDefaulter{})))
		server.Register(admission.PathValidateTag, reviews.limit(webhookFor(&admission.TagValidator{Registries: registries})))
		return nil
	}
}

// addProbes makes a replica ready when it can serve admission: the server listens and the cache has the Tags.
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
