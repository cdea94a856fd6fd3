package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
)

// scrapeTimeout bounds a scrape. The Tags are in the cache, so a scrape takes much less.
const scrapeTimeout = 10 * time.Second

var (
	labels = []string{"namespace", "tag"}

	tagGeneration = prometheus.NewDesc("tagger_tag_generation", "The generation that workloads use. Labeled by namespace and tag.", labels, nil)
	tagLastCheck  = prometheus.NewDesc("tagger_tag_last_check_timestamp_seconds",
		"When a registry last responded for the Tag, in seconds since 1970; missing before the first response since the start. Labeled by namespace and tag.", labels, nil)
	tagReferences = prometheus.NewDesc("tagger_tag_references", "How many generations are kept. Labeled by namespace and tag.", labels, nil)
)

// Tags computes the metrics of each Tag from the cache during a scrape, so that no series outlives its Tag. The leader
// registers it: each Tag counts once for all replicas.
type Tags struct {
	Reader     client.Reader
	Imports    *Imports
	Registerer prometheus.Registerer
}

// Start registers the collector until the context ends.
func (t *Tags) Start(ctx context.Context) error {
	if err := t.Registerer.Register(t); err != nil {
		return err
	}
	<-ctx.Done()
	t.Registerer.Unregister(t)
	return nil
}

// NeedLeaderElection returns true: one replica is enough.
func (t *Tags) NeedLeaderElection() bool { return true }

// Describe sends the descriptions of the metrics.
func (t *Tags) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- tagGeneration
	descriptions <- tagReferences
	descriptions <- tagLastCheck
}

// Collect sends the metrics of every Tag.
func (t *Tags) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout) //nolint:forbidigo // a scrape has no context to hand on
	defer cancel()
	var tags v1.TagList
	if err := t.Reader.List(ctx, &tags, client.UnsafeDisableDeepCopy); err != nil {
		log.Log.Error(err, "listing the Tags for a scrape")
		return
	}
	names := sets.New[types.NamespacedName]()
	for i := range tags.Items {
		names.Insert(client.ObjectKeyFromObject(&tags.Items[i]))
		tag := &tags.Items[i]
		if tag.Status.Generation != nil {
			metrics <- prometheus.MustNewConstMetric(tagGeneration, prometheus.GaugeValue, float64(*tag.Status.Generation), tag.Namespace, tag.Name)
		}
		metrics <- prometheus.MustNewConstMetric(tagReferences, prometheus.GaugeValue, float64(len(tag.Status.References)), tag.Namespace, tag.Name)
	}
	for name, at := range t.Imports.lastChecks(names.Has) {
		metrics <- prometheus.MustNewConstMetric(tagLastCheck, prometheus.GaugeValue, float64(at.Unix()), name.Namespace, name.Name)
	}
}
