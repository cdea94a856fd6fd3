// Package metrics measures from outside: decorators around interfaces, and a collector over the cache. The design fixes the
// names; later work adds and renames none.
package metrics

import (
	"context"
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/importer"
)

// Importer imports Tags.
type Importer interface {
	Import(ctx context.Context, tag *v1.Tag, terms importer.Terms) (importer.Image, error)
	Check(ctx context.Context, tag *v1.Tag, terms importer.Terms) (importer.Image, error)
	Verify(tag *v1.Tag, ref *v1.Reference) (importer.Copied, error)
}

// Imports counts and times imports.
type Imports struct {
	next  Importer
	clock clock.PassiveClock

	success  prometheus.Counter
	failures *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// reasons are the values of the label "reason". All series exist from the start, so that rates count the first failure.
var reasons = []v1.Reason{
	v1.ReasonNotFound, v1.ReasonUnauthorized, v1.ReasonRateLimited, v1.ReasonUnavailable, v1.ReasonRefusedByPolicy,
	v1.ReasonInvalidContent, v1.ReasonInvalidReference, v1.ReasonMirrorUnavailable, v1.ReasonMirrorNotConfigured,
}

// NewImports returns an importer that measures next.
func NewImports(next Importer, clock clock.PassiveClock) *Imports {
	m := &Imports{
		next:  next,
		clock: clock,
		success: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tagger_import_success_total", Help: "Imports that found an image.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tagger_import_failures_total", Help: "Imports, and checks for one, that failed. Labeled by reason.",
		}, []string{"reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tagger_import_duration_seconds", Help: "How long imports took, failed ones included, in seconds. Labeled by whether the image was cached.",
			Buckets: []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600},
		}, []string{"cached"}),
	}
	for _, reason := range reasons {
		m.failures.WithLabelValues(string(reason))
	}
	return m
}

// Import measures one import. Its copy is not part of the call.
func (m *Imports) Import(ctx context.Context, tag *v1.Tag, terms importer.Terms) (importer.Image, error) {
	start := m.clock.Now()
	image, err := m.next.Import(ctx, tag, terms)
	var postponed importer.Postponed
	var underWay *importer.UnderWay
	if errors.As(err, &postponed) || errors.As(err, &underWay) {
		return image, err // neither an import nor a failure
	}
	took := m.clock.Since(start) + image.Copied.Took
	m.duration.WithLabelValues(strconv.FormatBool(tag.Spec.Cache)).Observe(took.Seconds())
	if err == nil {
		m.success.Inc()
	}
	m.countFailure(err)
	return image, err
}

// Check measures one check. It counts only when it fails.
func (m *Imports) Check(ctx context.Context, tag *v1.Tag, terms importer.Terms) (importer.Image, error) {
	image, err := m.next.Check(ctx, tag, terms)
	m.countFailure(err)
	return image, err
}

// Verify passes the call on. It does not count as an import.
func (m *Imports) Verify(tag *v1.Tag, ref *v1.Reference) (importer.Copied, error) {
	return m.next.Verify(tag, ref)
}

func (m *Imports) countFailure(err error) {
	var failure importer.Failure
	if errors.As(err, &failure) {
		m.failures.WithLabelValues(string(failure.Reason())).Inc()
	}
}

// Describe sends the descriptions of the metrics.
func (m *Imports) Describe(descriptions chan<- *prometheus.Desc) {
	m.success.Describe(descriptions)
	m.failures.Describe(descriptions)
	m.duration.Describe(descriptions)
}

// Collect sends the metrics.
func (m *Imports) Collect(metrics chan<- prometheus.Metric) {
	m.success.Collect(metrics)
	m.failures.Collect(metrics)
	m.duration.Collect(metrics)
}
