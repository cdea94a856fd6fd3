package metrics

import (
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxNamedHosts bounds the values of the label "host". Tenants choose names, so only hosts that respond get a value.
	maxNamedHosts = 100
	otherHosts    = "other"
)

// Registries counts the requests to registries and their token services, and reports their rate limits.
type Registries struct {
	requests  *prometheus.CounterVec
	remaining *prometheus.GaugeVec

	mu    sync.Mutex
	named map[string]bool
}

// NewRegistries returns counters at zero.
func NewRegistries() *Registries {
	return &Registries{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tagger_registry_requests_total",
			Help: "Requests to registries and token services. Labeled by host, method, and status code, which is none without a response; hosts beyond the first 100, and hosts that never responded, are other.",
		}, []string{"host", "method", "code"}),
		remaining: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tagger_registry_ratelimit_remaining",
			Help: "Remaining requests of a registry's rate limit, from its last response to any credential. Labeled by host.",
		}, []string{"host"}),
		named: map[string]bool{},
	}
}

// Around returns a transport that counts the requests of next.
func (m *Registries) Around(next http.RoundTripper) http.RoundTripper {
	return counted(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		m.count(request, response)
		return response, err
	})
}

type counted func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (c counted) RoundTrip(request *http.Request) (*http.Response, error) { return c(request) }

func (m *Registries) count(request *http.Request, response *http.Response) {
	host := m.label(request.URL.Host, response != nil)
	m.requests.WithLabelValues(host, request.Method, code(response)).Inc()
	if response == nil || host == otherHosts {
		return
	}
	said, _, _ := strings.Cut(response.Header.Get("Ratelimit-Remaining"), ";")
	if remaining, err := strconv.ParseUint(strings.TrimSpace(said), 10, 31); err == nil {
		m.remaining.WithLabelValues(host).Set(float64(remaining))
	}
}

// label returns the host if it is one of the first to respond, else other.
func (m *Registries) label(host string, answers bool) string {
	host = strings.ToLower(host)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.named[host] && (!answers || len(m.named) >= maxNamedHosts) {
		return otherHosts
	}
	m.named[host] = true
	return host
}

// code returns the status code if HTTP defines it: a registry may send any number.
func code(response *http.Response) string {
	switch {
	case response == nil:
		return "none"
	case http.StatusText(response.StatusCode) == "":
		return "other"
	default:
		return strconv.Itoa(response.StatusCode)
	}
}

// Describe sends the descriptions of the metrics.
func (m *Registries) Describe(descriptions chan<- *prometheus.Desc) {
	m.requests.Describe(descriptions)
	m.remaining.Describe(descriptions)
}

// Collect sends the metrics.
func (m *Registries) Collect(metrics chan<- prometheus.Metric) {
	m.requests.Collect(metrics)
	m.remaining.Collect(metrics)
}
