// Package metrics measures from outside: decorators around interfaces, and a collector over the cache. The design fixes the
// names; later work adds and renames none.
package metrics

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/importer"
)

// Importer imports Tags.
type Importer interface {
	Import(tag *v1.Tag, options importer.Options) (importer.Result, error)
	Check(tag *v1.Tag, options importer.Options) (importer.Result, error)
	Verify(tag *v1.Tag, ref *v1.Reference) (importer.Result, error)
}

// Imports counts and times imports.
type Imports struct {
	next Importer

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
func NewImports(next Importer) *Imports {
	m := &Imports{
		next: next,
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

// Import counts an import that ended, and how long the registries took.
func (m *Imports) Import(tag *v1.Tag, options importer.Options) (importer.Result, error) {
	result, err := m.next.Import(tag, options)
	if err == nil && result.State != importer.Done {
		return result, nil
	}
	m.duration.WithLabelValues(strconv.FormatBool(tag.Spec.Cache)).Observe(result.Took.Seconds())
	if err == nil {
		m.success.Inc()
	}
	m.countFailure(err)
	return result, err
}

// Check counts a check only when it fails.
func (m *Imports) Check(tag *v1.Tag, options importer.Options) (importer.Result, error) {
	result, err := m.next.Check(tag, options)
	m.countFailure(err)
	return result, err
}

// Verify passes the call on. It does not count as an import.
func (m *Imports) Verify(tag *v1.Tag, ref *v1.Reference) (importer.Result, error) {
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
