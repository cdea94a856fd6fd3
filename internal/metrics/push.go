package metrics

import "github.com/prometheus/client_golang/prometheus"

// Pushes counts the requests of senders of push notifications.
type Pushes struct{ *prometheus.CounterVec }

// NewPushes returns a collector with a series for each sender and outcome.
func NewPushes(senders, outcomes []string) Pushes {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tagger_push_requests_total", Help: "Requests of senders of push notifications. Labeled by sender and outcome.",
	}, []string{"sender", "outcome"})
	for _, sender := range senders {
		for _, outcome := range outcomes {
			requests.WithLabelValues(sender, outcome)
		}
	}
	return Pushes{requests}
}

// Observe counts a request.
func (p Pushes) Observe(sender, outcome string) { p.WithLabelValues(sender, outcome).Inc() }
