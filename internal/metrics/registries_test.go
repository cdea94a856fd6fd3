package metrics_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/images-io/tagger/internal/metrics"
)

// wire returns the given responses; 0 is no response.
type wire struct {
	code   int
	header http.Header
}

func (w *wire) RoundTrip(*http.Request) (*http.Response, error) {
	if w.code == 0 {
		return nil, errors.New("no answer")
	}
	return &http.Response{StatusCode: w.code, Header: w.header, Body: http.NoBody}, nil
}

func TestRegistries_CountsRequests(t *testing.T) {
	registries, wire := metrics.NewRegistries(), &wire{}
	send := func(host string, code int, header http.Header) {
		wire.code, wire.header = code, header
		response, err := registries.Around(wire).RoundTrip(&http.Request{Method: http.MethodHead, URL: &url.URL{Scheme: "https", Host: host}})
		if (err == nil) != (code > 0) {
			t.Error(err)
		}
		if err == nil {
			response.Body.Close()
		}
	}
	left := func(value string) http.Header { return http.Header{"Ratelimit-Remaining": {value}} }
	send("never.example.com", 0, nil)
	send("registry.example.com:5000", 200, left("20;w=21600"))
	send("Registry.example.com:5000", 200, left("nonsense"))
	send("registry.example.com:5000", 0, nil)
	send("registry.example.com:5000", 799, left("19;w=21600"))
	want := `# HELP tagger_registry_ratelimit_remaining Remaining requests of a registry's rate limit, from its last response to any credential. Labeled by host.
# TYPE tagger_registry_ratelimit_remaining gauge
tagger_registry_ratelimit_remaining{host="registry.example.com:5000"} 19
# HELP tagger_registry_requests_total Requests to registries and token services. Labeled by host, method, and status code, which is none without a response; hosts beyond the first 100, and hosts that never responded, are other.
# TYPE tagger_registry_requests_total counter
tagger_registry_requests_total{code="200",host="registry.example.com:5000",method="HEAD"} 2
tagger_registry_requests_total{code="none",host="other",method="HEAD"} 1
tagger_registry_requests_total{code="none",host="registry.example.com:5000",method="HEAD"} 1
tagger_registry_requests_total{code="other",host="registry.example.com:5000",method="HEAD"} 1
`
	if err := testutil.CollectAndCompare(registries, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	for i := range 10_000 {
		send(fmt.Sprintf("host-%d.example.com", i), 200+i%500, left("1"))
	}
	if series := testutil.CollectAndCount(registries, "tagger_registry_ratelimit_remaining"); series != 100 {
		t.Errorf("%d hosts have a series of their own, want 100", series)
	}
}
