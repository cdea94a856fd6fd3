package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/images-io/tagger/internal/certificates"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/metrics"
)

// servingCertificate provides the certificate of the webhooks.
type servingCertificate interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// newServingCertificate returns the manager's own certificate, or one in files that another component renews, such as OLM.
func newServingCertificate(cfg config.Config) (servingCertificate, error) {
	if cfg.WebhookCertSecret.Name != "" {
		return &certificates.Served{}, nil
	}
	files, err := certwatcher.New(filepath.Join(cfg.WebhookCertDir, "tls.crt"), filepath.Join(cfg.WebhookCertDir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the webhooks: %w", err)
	}
	return files, nil
}

func newWebhookServer(cfg config.Config, serving servingCertificate) webhook.Server {
	options := webhook.Options{Host: cfg.WebhookHost, Port: cfg.WebhookPort}
	address := net.JoinHostPort(cfg.WebhookHost, strconv.Itoa(cfg.WebhookPort))
	return newBoundedServer(options, address, &tls.Config{GetCertificate: serving.GetCertificate, MinVersion: tls.VersionTLS12})
}

// addCertificate renews the certificate and exports its expiry. A replica with its own certificate is ready when API servers
// accept it.
func addCertificate(cfg config.Config, serving servingCertificate) func(context.Context, ctrl.Manager) error {
	return func(_ context.Context, mgr ctrl.Manager) error {
		if err := mgr.Add(&metrics.Certificate{Get: serving.GetCertificate, Registerer: ctrlmetrics.Registry}); err != nil {
			return err
		}
		switch serving := serving.(type) {
		case *certwatcher.CertWatcher:
			return mgr.Add(serving)
		case *certificates.Served:
			clock := clock.RealClock{}
			installation := certificates.Installation{
				Secret: cfg.WebhookCertSecret, Mutating: cfg.MutatingWebhookConfiguration, Validating: cfg.ValidatingWebhookConfiguration,
			}
			if err := certificates.Add(mgr, installation, certificates.Default, serving, clock); err != nil {
				return err
			}
			return mgr.AddReadyzCheck("certificate", func(*http.Request) error { return serving.Ready(clock) })
		}
		return nil
	}
}
