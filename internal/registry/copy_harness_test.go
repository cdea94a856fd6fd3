package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/transfer"
)

// stage is a source and a mirror, by plain HTTP, and who copies from one to the other.
type stage struct {
	t              *testing.T
	source, mirror *upstream
	client         *registry.Client
}

// newStage puts the two on a stage. The source is listed as insecure; the mirror is named by the orders only.
func newStage(t *testing.T, source, mirror *upstream, change ...func(*registry.Options)) *stage {
	t.Helper()
	change = append([]func(*registry.Options){insecureHosts(t, source)}, change...)
	return &stage{t: t, source: source, mirror: mirror, client: newClient(t, nil, change...)}
}

// insecureHosts is the option of a registries.conf that lists them as insecure.
func insecureHosts(t *testing.T, upstreams ...*upstream) func(*registry.Options) {
	t.Helper()
	var conf strings.Builder
	for _, u := range upstreams {
		fmt.Fprintf(&conf, "[[registry]]\nlocation = %q\ninsecure = true\n", u.host())
	}
	return configuredBy(t, "%s", conf.String())
}

func source(t *testing.T, from string) reference.Source {
	t.Helper()
	parsed, err := reference.Parse(from, "")
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// pushIndex puts an index into the registry, past the guard.
func (u *upstream) pushIndex(t *testing.T, repository, tag string, index gcr.ImageIndex) string {
	t.Helper()
	if err := remote.WriteIndex(u.behind(t, repository, tag), index); err != nil {
		t.Fatal(err)
	}
	return digestOf(t, index)
}

// pushImage does the same with an image.
func (u *upstream) pushImage(t *testing.T, repository, tag string, image gcr.Image) string {
	t.Helper()
	if err := remote.Write(u.behind(t, repository, tag), image); err != nil {
		t.Fatal(err)
	}
	return digestOf(t, image)
}

// behind is a reference to what stands behind the guard.
func (u *upstream) behind(t *testing.T, repository, tag string) name.Reference {
	t.Helper()
	server := httptest.NewServer(u.images)
	t.Cleanup(server.Close)
	made, err := name.ParseReference(server.Listener.Addr().String() + "/" + repository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func digestOf(t *testing.T, of interface{ Digest() (gcr.Hash, error) }) string {
	t.Helper()
	made, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return made.String()
}

// platforms is an index of images with so many layers of that many bytes each.
func platforms(t *testing.T, images, layers int, size int64) gcr.ImageIndex {
	t.Helper()
	made, err := random.Index(size, int64(layers), int64(images))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func image(t *testing.T, layers int, size int64) gcr.Image {
	t.Helper()
	made, err := random.Image(size, int64(layers))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// indexAround is an index that names others.
func indexAround(indexes ...gcr.ImageIndex) gcr.ImageIndex {
	var outer gcr.ImageIndex = empty.Index
	for _, inner := range indexes {
		outer = mutate.AppendManifests(outer, mutate.IndexAddendum{Add: inner})
	}
	return outer
}

// order is of the image in the source's team/app, for the Tag app of the namespace shop.
func (s *stage) order(digest string, change ...func(*registry.CopyRequest)) registry.CopyRequest {
	s.t.Helper()
	made := registry.CopyRequest{
		Source: source(s.t, s.source.host()+"/team/app:latest"), Digest: digest, Tag: "0", Namespace: "shop",
		Destination: registry.Destination{Address: s.mirror.host(), Path: "cache/shop/app", Insecure: true},
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
	s.mirror.images.ServeHTTP(response, httptest.NewRequest("HEAD", "/v2/"+repository+"/manifests/"+identifier, nil))
	return response.Header().Get("Docker-Content-Digest")
}

// missing is what the mirror lacks of all that is below a manifest; ggcr's registry hashed it when it came.
func (s *stage) missing(repository, identifier string) []string {
	s.t.Helper()
	response := httptest.NewRecorder()
	s.mirror.images.ServeHTTP(response, httptest.NewRequest("GET", "/v2/"+repository+"/manifests/"+identifier, nil))
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
		s.mirror.images.ServeHTTP(response, httptest.NewRequest("HEAD", "/v2/"+repository+"/blobs/"+blob.Digest, nil))
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

// mounting makes a registry of ggcr's that mounts blobs, from repositories that have them, and has a blob only in the repositories that it
// was put into, as most registries do.
func mounting(next http.Handler) http.Handler {
	var mutex sync.Mutex
	held := map[string]bool{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, blob, isBlob := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
		query := r.URL.Query()
		mutex.Lock()
		isHeld, isHere := held[query.Get("from")+query.Get("mount")], held[repository+blob]
		mutex.Unlock()
		hold := func(digest string) {
			mutex.Lock()
			defer mutex.Unlock()
			held[repository+digest] = true
		}
		if isBlob && !isHere && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
			return
		}
		if r.Method == http.MethodPost && isHeld {
			hold(query.Get("mount"))
			w.WriteHeader(http.StatusCreated)
			return
		}
		answer := &noting{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		if answer.status == http.StatusCreated && query.Has("digest") {
			hold(query.Get("digest"))
		}
	})
}

// noting is an answer whose status is kept.
type noting struct {
	http.ResponseWriter
	status int
}

func (n *noting) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}

// knowsNoMounts makes a registry that refuses what it does not know.
func knowsNoMounts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("mount") {
			refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
			return
		}
		next.ServeHTTP(w, r)
	})
}
