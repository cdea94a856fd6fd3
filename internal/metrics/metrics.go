// Package metrics measures from outside: decorators around interfaces, and a collector over the cache. The design fixes the
// names; later work adds and renames none.
package metrics

import (
	"errors"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/generation"
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
	now  func() time.Time

	success  prometheus.Counter
	failures *prometheus.CounterVec
	duration *prometheus.HistogramVec
	polls    *prometheus.CounterVec

	mu sync.Mutex
	// checked is when a registry last responded for a Tag, be it with a failure.
	checked map[types.NamespacedName]time.Time
}

// Results of polls: the values of the label "result".
const pollChanged, pollUnchanged, pollFailed, pollDeferred = "changed", "unchanged", "failed", "deferred"

// reasons are the values of the label "reason". All series exist from the start, so that rates count the first failure.
var reasons = []v1.Reason{
	v1.ReasonNotFound, v1.ReasonUnauthorized, v1.ReasonRateLimited, v1.ReasonUnavailable, v1.ReasonRefusedByPolicy,
	v1.ReasonInvalidContent, v1.ReasonInvalidReference, v1.ReasonMirrorUnavailable, v1.ReasonMirrorNotConfigured,
}

// NewImports returns an importer that measures next.
func NewImports(next Importer, clock clock.PassiveClock) *Imports {
	m := &Imports{
		next: next,
		now:  clock.Now,
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
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tagger_polls_total", Help: "Checks that spec.interval caused. Labeled by result.",
		}, []string{"result"}),
		checked: map[types.NamespacedName]time.Time{},
	}
	for _, result := range []string{pollChanged, pollUnchanged, pollFailed, pollDeferred} {
		m.polls.WithLabelValues(result)
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
	m.recordChecked(tag, result, err)
	return result, err
}

// Check counts a check when it is a poll, and when it fails.
func (m *Imports) Check(tag *v1.Tag, options importer.Options) (importer.Result, error) {
	result, err := m.next.Check(tag, options)
	m.countFailure(err)
	m.recordChecked(tag, result, err)
	if options.Poll {
		m.countPoll(tag, result, err)
	}
	return result, err
}

func (m *Imports) countPoll(tag *v1.Tag, result importer.Result, err error) {
	newest := tag.Newest()
	switch {
	case err != nil:
		m.polls.WithLabelValues(pollFailed).Inc()
	case result.State == importer.Deferred:
		m.polls.WithLabelValues(pollDeferred).Inc()
	case result.State == importer.InProgress:
	case newest != nil && generation.SameDigest(newest, result.Digest):
		m.polls.WithLabelValues(pollUnchanged).Inc()
	default:
		m.polls.WithLabelValues(pollChanged).Inc()
	}
}

// recordChecked notes when a registry responded.
func (m *Imports) recordChecked(tag *v1.Tag, result importer.Result, err error) {
	var failure importer.Failure
	if err == nil && result.State != importer.Done || err != nil && !errors.As(err, &failure) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checked[types.NamespacedName{Namespace: tag.Namespace, Name: tag.Name}] = m.now()
}

// lastChecks returns when a registry last responded for each Tag. It forgets Tags that do not exist.
func (m *Imports) lastChecks(exists func(types.NamespacedName) bool) map[types.NamespacedName]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.checked, func(name types.NamespacedName, _ time.Time) bool { return !exists(name) })
	return maps.Clone(m.checked)
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
	m.polls.Describe(descriptions)
}

// Collect sends the metrics.
func (m *Imports) Collect(metrics chan<- prometheus.Metric) {
	m.success.Collect(metrics)
	m.failures.Collect(metrics)
	m.duration.Collect(metrics)
	m.polls.Collect(metrics)
}
