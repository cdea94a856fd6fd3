package metrics

import (
	"context"
	"crypto/tls"

	"github.com/prometheus/client_golang/prometheus"
)

var certificateExpiry = prometheus.NewDesc("tagger_certificate_expiry_timestamp_seconds",
	"When the certificate that this replica serves its webhooks with expires, in seconds since 1970.", nil, nil)

// Certificate collects the expiry of the served certificate, whichever component issues it. Without a certificate it has no
// series.
type Certificate struct {
	Get        func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Registerer prometheus.Registerer
}

// Start registers the collector until the context ends.
func (c *Certificate) Start(ctx context.Context) error {
	if err := c.Registerer.Register(c); err != nil {
		return err
	}
	<-ctx.Done()
	c.Registerer.Unregister(c)
	return nil
}

// NeedLeaderElection returns false: every replica has a certificate.
func (c *Certificate) NeedLeaderElection() bool { return false }

// Describe sends the description of the metric.
func (c *Certificate) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- certificateExpiry
}

// Collect sends the metric.
func (c *Certificate) Collect(metrics chan<- prometheus.Metric) {
	certificate, err := c.Get(nil)
	if err != nil || certificate == nil || certificate.Leaf == nil {
		return
	}
	metrics <- prometheus.MustNewConstMetric(certificateExpiry, prometheus.GaugeValue, float64(certificate.Leaf.NotAfter.Unix()))
}
