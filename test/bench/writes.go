package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/images-io/tagger/test/bench/measure"
)

// writes returns the number of requests except GETs that the manager has sent to the API server, by its own count
// (rest_client_requests_total): client-go counts every request of every client.
func (s *stand) writes(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.manager.MetricsURL, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, fmt.Errorf("reading the manager's metrics: %w", err)
	}
	requests, ok := families["rest_client_requests_total"]
	if !ok {
		return 0, fmt.Errorf("the manager does not count its requests")
	}
	total := 0.0
	for _, metric := range requests.GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == "method" && label.GetValue() != http.MethodGet {
				total += metric.GetCounter().GetValue()
			}
		}
	}
	return total, nil
}

// quiet is how long the manager writes nothing once it has settled.
var quiet = measure.FullOrShort(3*time.Second, time.Second)

// settled returns when the manager has written nothing for a few seconds. Events are written behind everything else.
func (s *stand) settled(ctx context.Context) error {
	last := -1.0
	return wait.PollUntilContextTimeout(ctx, quiet, longestWait, true, func(ctx context.Context) (bool, error) {
		now, err := s.writes(ctx)
		same := now == last
		last = now
		return same, err
	})
}
