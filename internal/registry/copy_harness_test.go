package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registrytest"
	"github.com/images-io/tagger/internal/transfer"
)

// stage is a source and a mirror, by plain HTTP, and who copies from one to the other.
type stage struct {
	t              *testing.T
	source, mirror *registrytest.Upstream
	client         *registry.Client
}

// newStage puts the two on a stage. The source is listed as insecure; the mirror is named by the orders only.
func newStage(t *testing.T, source, mirror *registrytest.Upstream, change ...func(*registry.Options)) *stage {
	t.Helper()
	change = append([]func(*registry.Options){insecureHosts(t, source)}, change...)
	return &stage{t: t, source: source, mirror: mirror, client: newClient(t, nil, change...)}
}

// insecureHosts is the option of a registries.conf that lists them as insecure.
func insecureHosts(t *testing.T, upstreams ...*registrytest.Upstream) func(*registry.Options) {
	t.Helper()
	var hosts []string
	for _, u := range upstreams {
		hosts = append(hosts, u.Host())
	}
	return configuredBy(t, "%s", registrytest.Insecure(hosts...))
}

func source(t *testing.T, from string) reference.Source {
	t.Helper()
	parsed, err := reference.Parse(from, "")
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// order is of the image in the source's team/app, for the Tag app of the namespace shop.
func (s *stage) order(digest string, change ...func(*registry.CopyRequest)) registry.CopyRequest {
	s.t.Helper()
	made := registry.CopyRequest{
		Source: source(s.t, s.source.Host()+"/team/app:latest"), Digest: digest, Tag: "0", Namespace: "shop",
		Destination: registry.Destination{Address: s.mirror.Host(), Path: "cache/shop/app", Insecure: true},
	}
	for _, apply := range change {
		apply(&made)
	}
	return made
}

func (s *stage) try(order registry.CopyRequest) (transfer.CopyResult, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	return s.client.Copy(ctx, order)
}

// copied fails the test when the copy does.
func (s *stage) copied(order registry.CopyRequest) transfer.CopyResult {
	s.t.Helper()
	done, err := s.try(order)
	if err != nil {
		s.t.Fatal(err)
	}
	return done
}

// refused is the typed error of a copy.
func (s *stage) refused(order registry.CopyRequest) *regerr.Error {
	s.t.Helper()
	done, err := s.try(order)
	var typed *regerr.Error
	if !errors.As(err, &typed) {
		s.t.Fatalf("got %+v, %T %v; want a *regerr.Error", done, err, err)
	}
	return typed
}

// holds is what the mirror has under a tag or a digest, asked past its guard.
func (s *stage) holds(repository, identifier string) string {
	s.t.Helper()
	response := httptest.NewRecorder()
	s.mirror.Images.ServeHTTP(response, httptest.NewRequest("HEAD", "/v2/"+repository+"/manifests/"+identifier, nil))
	return response.Header().Get("Docker-Content-Digest")
}

// missing is what the mirror lacks of all that is below a manifest; ggcr's registry hashed it when it came.
func (s *stage) missing(repository, identifier string) []string {
	s.t.Helper()
	response := httptest.NewRecorder()
	s.mirror.Images.ServeHTTP(response, httptest.NewRequest("GET", "/v2/"+repository+"/manifests/"+identifier, nil))
	if response.Code != http.StatusOK {
		return []string{identifier}
	}
	type named struct{ Digest string }
	var body struct {
		Config            *named
		Layers, Manifests []named
	}
	if err := json.Unmarshal(response.Body.Bytes(), &body); err != nil {
		s.t.Fatal(err)
	}
	var missing []string
	for _, child := range body.Manifests {
		missing = append(missing, s.missing(repository, child.Digest)...)
	}
	if body.Config != nil {
		body.Layers = append(body.Layers, *body.Config)
	}
	for _, blob := range body.Layers {
		response := httptest.NewRecorder()
		s.mirror.Images.ServeHTTP(response, httptest.NewRequest("HEAD", "/v2/"+repository+"/blobs/"+blob.Digest, nil))
		if response.Code != http.StatusOK {
			missing = append(missing, blob.Digest)
		}
	}
	return missing
}

// isWhole fails the test unless the mirror has the digest under the identifier, with all that is below it.
func (s *stage) isWhole(repository, identifier, digest string) {
	s.t.Helper()
	if got := s.holds(repository, identifier); got != digest {
		s.t.Errorf("%s:%s is %q at the mirror, want %s", repository, identifier, got, digest)
	}
	if missing := s.missing(repository, identifier); len(missing) > 0 {
		s.t.Errorf("the mirror lacks %v", missing)
	}
}
