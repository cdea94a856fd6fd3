package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/transfer"
)

// Mirror counts the bytes that are copied into the internal registry.
type Mirror struct {
	importer.Mirror

	bytes   *prometheus.CounterVec
	running prometheus.Gauge
}

// Values of the label "kind".
const (
	kindCopied  = "copied"
	kindSkipped = "skipped"
	kindMounted = "mounted"
)

// NewMirror returns a mirror that measures next.
func NewMirror(next importer.Mirror) *Mirror {
	m := &Mirror{
		Mirror: next,
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tagger_mirror_bytes_total",
			Help: "Bytes of the blobs of images that were mirrored. Labeled by kind: copied, skipped since they were there, mounted from another repository of the namespace.",
		}, []string{"kind"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tagger_mirror_copies_running", Help: "Images that are being copied into the internal registry.",
		}),
	}
	for _, kind := range []string{kindCopied, kindSkipped, kindMounted} {
		m.bytes.WithLabelValues(kind)
	}
	return m
}

// Copy measures one copy. The bytes of a failed copy count, too.
func (m *Mirror) Copy(ctx context.Context, request importer.CopyRequest) (transfer.CopyResult, error) {
	m.running.Inc()
	defer m.running.Dec()
	return m.counted(m.Mirror.Copy(ctx, request))
}

// CopyAttachments measures a later copy of referrers.
func (m *Mirror) CopyAttachments(ctx context.Context, request importer.CopyRequest) (transfer.CopyResult, error) {
	return m.counted(m.Mirror.CopyAttachments(ctx, request))
}

func (m *Mirror) counted(copied transfer.CopyResult, err error) (transfer.CopyResult, error) {
	m.bytes.WithLabelValues(kindCopied).Add(float64(copied.Uploaded))
	m.bytes.WithLabelValues(kindSkipped).Add(float64(copied.Skipped))
	m.bytes.WithLabelValues(kindMounted).Add(float64(copied.Mounted))
	return copied, err
}

// Describe sends the descriptions of the metrics.
func (m *Mirror) Describe(descriptions chan<- *prometheus.Desc) {
	m.bytes.Describe(descriptions)
	m.running.Describe(descriptions)
}

// Collect sends the metrics.
func (m *Mirror) Collect(metrics chan<- prometheus.Metric) {
	m.bytes.Collect(metrics)
	m.running.Collect(metrics)
}
