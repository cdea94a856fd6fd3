//go:build faults

// Package slow runs slow registries against the real limits: the tests of internal/registry use shorter ones.
package slow

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/transport"
	"github.com/images-io/tagger/test/harness"
)

// TestASlowRegistryIsGivenUp: a header may take 15 s, the next byte 30 s, and all requests of one resolve 30 s (DESIGN 6,
// Limits).
func TestASlowRegistryIsGivenUp(t *testing.T) {
	for name, row := range map[string]struct {
		answer http.HandlerFunc
		within time.Duration
	}{
		"a header that never comes":        {silent, 15 * time.Second},
		"one byte a second":                {noHead(dripping), 30 * time.Second},
		"a manifest that does not go on":   {noHead(stalling), 30 * time.Second},
		"one byte a second, in the header": {drippingHeader, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(greeting(row.answer))
			t.Cleanup(server.Close)
			source, client := reach(t, server)
			start := time.Now()
			_, err := client.Resolve(t.Context(), source, credentials.Keyring{}, registry.ResolveOptions{NotBefore: time.Now()})
			took := time.Since(start)
			var failure *regerr.Error
			if !errors.As(err, &failure) || failure.Reason() != v1.ReasonUnavailable {
				t.Errorf("the error is %v, want one of the reason %s", err, v1.ReasonUnavailable)
			}
			if took > 3*row.within {
				t.Errorf("it took %s, three times %s is too long", took, row.within)
			}
			t.Logf("given up after %s: %v", took.Round(time.Second/10), err)
		})
	}
}

// reach returns a client for the server, which the administrator lists, and a source there.
func reach(t *testing.T, server *httptest.Server) (reference.Source, *registry.Client) {
	t.Helper()
	address := strings.TrimPrefix(server.URL, "http://")
	path := filepath.Join(t.TempDir(), "registries.conf")
	if err := harness.WriteRegistriesConf(path, address); err != nil {
		t.Fatal(err)
	}
	configuration, err := registriesconf.Load(path, func(err error) { t.Error(err) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	source, err := reference.Parse(address+"/company/myapp:latest", "")
	if err != nil {
		t.Fatal(err)
	}
	return source, registry.New(registry.Options{Options: transport.Options{Configuration: configuration}})
}

// greeting responds to /v2/, and leaves the manifests to next.
func greeting(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			next(w, r)
		}
	}
}

// noHead makes the client read the manifest.
func noHead(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		next(w, r)
	}
}

func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func stalling(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, `{"schemaVersion":2`)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func dripping(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, `{"schemaVersion":2,`)
	drip(r, func() error {
		_, err := io.WriteString(w, " ")
		return errors.Join(err, http.NewResponseController(w).Flush())
	})
}

// drippingHeader sends a header one byte a second.
func drippingHeader(w http.ResponseWriter, r *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	_, _ = io.WriteString(connection, "HTTP/1.1 200 OK\r\nX-Filler: ")
	drip(r, func() error {
		_, err := io.WriteString(connection, "a")
		return err
	})
}

// drip writes once a second until the client leaves.
func drip(r *http.Request, write func() error) {
	for second := time.NewTicker(time.Second); r.Context().Err() == nil; <-second.C {
		if write() != nil {
			return
		}
	}
}
