package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	pushcontroller "github.com/images-io/tagger/controllers/push"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/metrics"
	"github.com/images-io/tagger/internal/pushtokens"
	"github.com/images-io/tagger/webhooks/push"
)

// addPush adds the receivers of push notifications, on every replica.
func addPush(cfg config.Push) func(context.Context, ctrl.Manager) error {
	return func(ctx context.Context, mgr ctrl.Manager) error {
		if !cfg.IsOn() {
			return nil
		}
		if err := pushcontroller.Index(ctx, mgr.GetFieldIndexer()); err != nil {
			return err
		}
		tokens, err := pushTokens(mgr, cfg)
		if err != nil {
			return err
		}
		config, err := pushCertificate(mgr, cfg.CertDir)
		if err != nil {
			return err
		}
		requests := metrics.NewPushes(append(push.Senders(), push.UnknownSender), push.Outcomes)
		receivers := &pushReceivers{requests: requests, requester: pushcontroller.NewRequester(mgr.GetClient(), mgr.GetClient(), clock.RealClock{})}
		for _, receiver := range []struct {
			address string
			senders []string
		}{{cfg.QuayAddress, []string{"quay"}}, {cfg.DockerAddress, []string{"docker"}}, {cfg.Address, push.Senders()}} {
			if receiver.address != "0" {
				handler := push.NewHandler(receiver.senders, tokens, receivers.requester, requests.Observe)
				receivers.servers = append(receivers.servers, &push.Server{Address: receiver.address, Handler: handler, TLS: config})
			}
		}
		return mgr.Add(receivers)
	}
}

// pushTokens returns the tokens of the Secret, nil if no sender needs one.
func pushTokens(mgr ctrl.Manager, cfg config.Push) (push.Tokens, error) {
	if cfg.Authentication == config.PushAuthenticationNone {
		ctrl.Log.WithName("push").Info("every client may send push notifications, as --push-authentication is none")
		return nil, nil
	}
	keeper, err := pushtokens.Add(mgr, cfg.Secret, push.Senders())
	if err != nil {
		return nil, err
	}
	return keeper.Tokens, nil
}

// pushCertificate returns the configuration of HTTPS, nil for plain HTTP.
func pushCertificate(mgr ctrl.Manager, dir string) (*tls.Config, error) {
	if dir == "" {
		return nil, nil
	}
	files, err := certwatcher.New(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of push notifications: %w", err)
	}
	return &tls.Config{GetCertificate: files.GetCertificate, MinVersion: tls.VersionTLS12}, mgr.Add(files)
}

// pushReceivers receives notifications at some addresses and requests checks of Tags.
type pushReceivers struct {
	requests  metrics.Pushes
	requester *pushcontroller.Requester
	servers   []*push.Server
}

// Start receives notifications until the context ends, and returns once the checks that they requested are written.
func (p *pushReceivers) Start(ctx context.Context) error {
	if err := ctrlmetrics.Registry.Register(p.requests); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	defer ctrlmetrics.Registry.Unregister(p.requests)
	serving, ctx := errgroup.WithContext(ctx)
	for _, server := range p.servers {
		serving.Go(func() error { return server.Start(ctx) })
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		p.requester.Run(log.IntoContext(context.WithoutCancel(ctx), ctrl.Log.WithName("push")))
	}()
	err := serving.Wait()
	p.requester.Stop()
	<-written
	return err
}

// NeedLeaderElection returns false: every replica receives notifications.
func (p *pushReceivers) NeedLeaderElection() bool { return false }
