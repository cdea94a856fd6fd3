package registry_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
	"github.com/images-io/tagger/internal/transfer"
)

func TestAnImageIsCopiedAsItIs(t *testing.T) {
	oci := mutate.MediaType(mutate.ConfigMediaType(registrytest.Image(t, 2, 1<<10), types.OCIConfigJSON), types.OCIManifestSchema1)
	attestation := mutate.Annotations(mutate.MediaType(mutate.ConfigMediaType(registrytest.Image(t, 1, 1<<8), types.OCIConfigJSON), types.OCIManifestSchema1),
		map[string]string{"vnd.docker.reference.type": "attestation-manifest"}).(gcr.Image)
	for _, row := range []struct {
		name  string
		index gcr.ImageIndex
	}{
		{name: "two platforms of OCI", index: registrytest.Platforms(t, 2, 3, 1<<10)},
		{name: "Docker's types", index: mutate.IndexMediaType(registrytest.Platforms(t, 2, 2, 1<<10), types.DockerManifestList)},
		{name: "an index in an index", index: registrytest.IndexAround(registrytest.Platforms(t, 2, 1, 1<<10), registrytest.Platforms(t, 1, 2, 1<<10))},
		{name: "with its attestation, which has no platform", index: mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: oci}, mutate.IndexAddendum{
			Add: attestation, Descriptor: gcr.Descriptor{Platform: &gcr.Platform{OS: "unknown", Architecture: "unknown"}}})},
		{name: "of nothing", index: empty.Index},
		{name: "one image twice", index: mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: oci}, mutate.IndexAddendum{Add: oci})},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
			want := s.source.PushIndex(t, "team/app", "latest", row.index)
			s.copied(s.order(want))
			s.isWhole("cache/shop/app", "0", want)
		})
	}
}

func TestAnImageWithoutAnIndexIsCopied(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
	nothing := static.NewLayer(nil, types.OCIUncompressedLayer)
	made, err := mutate.AppendLayers(registrytest.Image(t, 2, 1<<10), nothing)
	if err != nil {
		t.Fatal(err)
	}
	want := s.source.PushImage(t, "team/app", "latest", made)
	s.copied(s.order(want))
	s.isWhole("cache/shop/app", "0", want)
}

// TestAManifestThatIsALayerAsWell has an index of an image, and of an artifact that has that image's manifest as a file.
func TestAManifestThatIsALayerAsWell(t *testing.T) {
	for range 5 { // either may come first
		s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
		made := registrytest.Image(t, 1, 1<<10)
		manifest, err := made.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		artifact, err := mutate.AppendLayers(empty.Image, static.NewLayer(manifest, types.OCIManifestSchema1))
		if err != nil {
			t.Fatal(err)
		}
		s.source.PushImage(t, "team/app", "artifact", artifact)
		want := s.source.PushIndex(t, "team/app", "latest", mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: made}, mutate.IndexAddendum{Add: artifact}))
		s.copied(s.order(want))
		s.isWhole("cache/shop/app", "0", want)
	}
}

func TestRequestsOfACopy(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, registrytest.Mounting))
	want := s.source.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, 4, 1<<20))
	order := s.order(want)
	if held, err := s.client.Head(t.Context(), order.Destination, "0"); held != "" || err != nil {
		t.Fatal(held, err)
	}
	s.copied(order)
	if requests := append(s.source.Requests("", ""), s.mirror.Requests("", "")...); len(requests) > 40 {
		t.Errorf("%d requests: %v", len(requests), requests)
	}
	s.mirror.ClearLog()
	if held, err := s.client.Head(t.Context(), order.Destination, "0"); held != want || err != nil {
		t.Fatal(held, err)
	}
	if count := s.mirror.Count("", ""); count != 1 {
		t.Errorf("to find the same image again takes %d requests", count)
	}
}

func TestOnlyNewBlobsAreSent(t *testing.T) {
	for _, row := range []struct {
		name  string
		guard func(http.Handler) http.Handler
		// restarted: the second copy is made by a process that knows nothing of the first.
		restarted bool
		size      int64
	}{
		{name: "to a registry that mounts", guard: registrytest.Mounting, size: 1 << 10},
		{name: "to a registry that mounts, by another process", guard: registrytest.Mounting, restarted: true, size: 1 << 10},
		{name: "to a registry that does not mount", size: 1 << 10},
		{name: "to a registry that does not mount, by another process", restarted: true, size: 5 << 20},
		{name: "to a registry that knows no mounts", guard: registrytest.KnowsNoMounts, size: 1 << 10},
		{name: "to a registry that knows no mounts, by another process", guard: registrytest.KnowsNoMounts, restarted: true, size: 1 << 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, row.guard))
			base := registrytest.Image(t, 3, row.size)
			next, err := mutate.AppendLayers(base, static.NewLayer([]byte("new"), types.OCILayer))
			if err != nil {
				t.Fatal(err)
			}
			first, second := s.source.PushImage(t, "team/app", "1", base), s.source.PushImage(t, "team/app", "2", next)
			s.copied(s.order(first))
			if row.restarted {
				s = newStage(t, s.source, s.mirror)
			}
			s.mirror.ClearLog()
			done := s.copied(s.order(second, func(o *registry.CopyRequest) { o.Tag = "1" }))
			// The layer, and the config, which names it.
			if sent := s.mirror.Count(http.MethodPut, "/blobs/"); sent != 2 {
				t.Errorf("%d blobs were sent", sent)
			}
			if done.Skipped < 3*row.size || done.Mounted != 0 || done.Uploaded == 0 {
				t.Errorf("got %+v", done)
			}
			s.isWhole("cache/shop/app", "1", second)
			s.isWhole("cache/shop/app", "0", first)
		})
	}
}

func TestBlobsOfTheSameNamespaceAreMounted(t *testing.T) {
	for _, row := range []struct {
		name, namespace string
		mounted         bool
	}{
		{name: "another Tag of the namespace", namespace: "shop", mounted: true},
		{name: "a Tag of another namespace", namespace: "bank"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, registrytest.Mounting))
			want := s.source.PushImage(t, "team/app", "1", registrytest.Image(t, 3, 1<<10))
			s.copied(s.order(want))
			s.mirror.ClearLog()
			s.source.ClearLog()
			done := s.copied(s.order(want, func(o *registry.CopyRequest) {
				o.Namespace, o.Destination.Path = row.namespace, "cache/"+row.namespace+"/tools"
			}))
			if sent := s.mirror.Count(http.MethodPut, "/blobs/"); (sent == 0) != row.mounted {
				t.Errorf("%d blobs were sent", sent)
			}
			if (done.Mounted > 0) != row.mounted || (done.Uploaded == 0) != row.mounted {
				t.Errorf("got %+v", done)
			}
			if read := s.source.Count(http.MethodGet, "/blobs/"); (read == 0) != row.mounted {
				t.Errorf("%d blobs were read", read)
			}
			for _, r := range s.mirror.Requests(http.MethodPost, "") {
				if !row.mounted && strings.Contains(r.Query, "shop") {
					t.Errorf("another namespace is named: %s?%s", r.Path, r.Query)
				}
			}
			s.isWhole("cache/"+row.namespace+"/tools", "0", want)
		})
	}
}

func TestCopy_TagIsWrittenLast(t *testing.T) {
	var s *stage
	var mutex sync.Mutex
	early := []string{}
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mutex.Lock()
			defer mutex.Unlock()
			if s.holds("cache/shop/app", "0") != "" && r.Method != http.MethodHead {
				early = append(early, r.Method+" "+r.URL.Path)
			}
			next.ServeHTTP(w, r)
			if _, child, isManifest := strings.Cut(r.URL.Path, "/manifests/"); isManifest && r.Method == http.MethodPut {
				if missing := s.missing("cache/shop/app", child); len(missing) > 0 {
					early = append(early, fmt.Sprintf("%s lacks %v", child, missing))
				}
			}
		})
	}
	s = newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, guard))
	want := s.source.PushIndex(t, "team/app", "latest", registrytest.IndexAround(registrytest.Platforms(t, 3, 3, 1<<10)))
	s.copied(s.order(want))
	if len(early) > 0 {
		t.Errorf("too early: %v", early)
	}
	s.isWhole("cache/shop/app", "0", want)
}

func TestACopyTellsHowFarItIs(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
	want := s.source.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, 3, 1<<16))
	var mutex sync.Mutex
	var told []transfer.Progress
	done := s.copied(s.order(want, func(o *registry.CopyRequest) {
		o.Progress = func(p transfer.Progress) {
			mutex.Lock()
			defer mutex.Unlock()
			told = append(told, p)
		}
	}))
	last := told[len(told)-1]
	if last.Blobs != 8 || last.BlobsDone != 8 || last.Bytes != done.Uploaded || last.BytesDone != done.Uploaded {
		t.Errorf("it ends with %+v, and sent %d", last, done.Uploaded)
	}
	isOrdered := slices.IsSortedFunc(told, func(a, b transfer.Progress) int { return int(a.BytesDone - b.BytesDone) })
	if !isOrdered || len(told) < 10 {
		t.Errorf("told %v", told)
	}
}

// commented is an image whose manifest is that large, in bytes, by what is written about it.
func commented(t *testing.T, size int) gcr.Image {
	t.Helper()
	return mutate.Annotations(registrytest.Image(t, 1, 1<<8), map[string]string{"comment": strings.Repeat("a", size)}).(gcr.Image)
}

// TestManifestsOfACopyAreCountedTogether, for a copy keeps all of them: the image's own, those below, and those that are attached.
func TestManifestsOfACopyAreCountedTogether(t *testing.T) {
	const large = 3 << 20
	images := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: commented(t, large)}, mutate.IndexAddendum{Add: commented(t, large)})
	for name, row := range map[string]struct {
		index  gcr.ImageIndex
		signed bool
		fits   bool
	}{
		"two manifests":                     {index: images, fits: true},
		"and their index":                   {index: mutate.Annotations(images, map[string]string{"comment": strings.Repeat("a", large)}).(gcr.ImageIndex)},
		"and a signature, which is as much": {index: images, signed: true},
		"three manifests":                   {index: mutate.AppendManifests(images, mutate.IndexAddendum{Add: commented(t, large)})},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
			want := s.source.PushIndex(t, "team/app", "latest", row.index)
			if row.signed {
				s.source.PushImage(t, "team/app", tagOf(want)+".sig", commented(t, large))
			}
			if row.fits {
				s.copied(s.order(want))
				return
			}
			if got := s.refused(s.order(want)); got.Reason() != v1.ReasonInvalidContent || !strings.Contains(got.Error(), "manifests of more than 8 MiB together") {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
		})
	}
}

func TestTooManyBlobsCannotBeCached(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
	names := digests(9 * 1000)
	var images []string
	for part := range slices.Chunk(names, 1000) {
		var layers []string
		for _, digest := range part {
			layers = append(layers, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":1}`, digest))
		}
		manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"layers":[%s]}`, ociImage, strings.Join(layers, ","))
		named := digest.FromString(manifest).String()
		s.source.PutManifest(t, "team/app", named, ociImage, manifest)
		images = append(images, named)
	}
	index := sizedIndexOf(t, s.source, "team/app", images...)
	s.source.PutManifest(t, "team/app", "latest", ociIndex, index)
	if got := s.refused(s.order(digest.FromString(index).String())); got.Reason() != v1.ReasonInvalidContent || !strings.Contains(got.Error(), "more than 8192 blobs") {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	if count := s.mirror.Count("", "/blobs/"); count > 0 {
		t.Errorf("%d requests for blobs", count)
	}
}

func TestWhatCannotBeCached(t *testing.T) {
	foreign, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer: static.NewLayer([]byte("windows"), types.DockerForeignLayer), URLs: []string{"https://example.com/layer"},
	})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer: static.NewLayer([]byte("layer"), types.OCILayer), URLs: []string{"https://example.com/layer"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, text string
		image      gcr.Image
		limit      int64
	}{
		{name: "foreign layers", image: foreign, text: "a foreign layer"},
		{name: "a layer that is to be had elsewhere", image: elsewhere, text: "a foreign layer"},
		{name: "an image that is too large", image: registrytest.Image(t, 2, 1<<20), limit: 2 << 20, text: "larger than the 2 MiB"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), func(o *registry.Options) { o.Copies.MaxImageSize = row.limit })
			got := s.refused(s.order(s.source.PushImage(t, "team/app", "latest", row.image)))
			if got.Reason() != v1.ReasonInvalidContent || !got.Terminal() || !strings.Contains(got.Error(), row.text) {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
			if count := s.mirror.Count("", "/blobs/"); count > 0 {
				t.Errorf("%d requests for blobs", count)
			}
		})
	}
}

// TestASizeThatIsDeclaredIsBounded: an image whose manifests promise more than is allowed is refused by them, and nothing that they name
// is read.
func TestASizeThatIsDeclaredIsBounded(t *testing.T) {
	const tebibyte = 1 << 40
	layer := func(size uint64, n int) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}`, digests(n + 1)[n], size)
	}
	small := `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digests(10)[9] + `","size":1}`
	for name, row := range map[string]struct{ config, layers string }{
		"a layer of 1 TiB":                        {small, layer(tebibyte, 0)},
		"a config of 1 TiB":                       {layer(tebibyte, 0), ""},
		"many layers that are 1 TiB together":     {small, strings.Join([]string{layer(tebibyte/4, 0), layer(tebibyte/4, 1), layer(tebibyte/4, 2), layer(tebibyte/4, 3)}, ",")},
		"layers whose sum is beyond 64 bits":      {small, layer(1<<63-1, 0) + "," + layer(1<<63-1, 1)},
		"a small layer, and then one of 1 TiB":    {small, layer(1, 0) + "," + layer(tebibyte, 1)},
		"one layer that is listed with two sizes": {small, layer(tebibyte, 0) + "," + layer(1, 0)},
	} {
		for _, isInIndex := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in an index: %v", name, isInIndex), func(t *testing.T) {
				s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
				manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, ociImage, row.config, row.layers)
				named := digest.FromString(manifest).String()
				s.source.PutManifest(t, "team/app", "latest", ociImage, manifest)
				if isInIndex {
					index := sizedIndexOf(t, s.source, "team/app", named)
					named = digest.FromString(index).String()
					s.source.PutManifest(t, "team/app", "latest", ociIndex, index)
				}
				got := s.refused(s.order(named))
				if got.Reason() != v1.ReasonInvalidContent || !got.Terminal() || !strings.Contains(got.Error(), "--mirror-max-image-size") {
					t.Errorf("got %s: %v", got.Reason(), got)
				}
				if read, sent := s.source.Count("", "/blobs/"), s.mirror.Count("", "/blobs/"); read+sent > 0 {
					t.Errorf("%d requests for blobs at the source and %d at the mirror", read, sent)
				}
			})
		}
	}
}

// TestATagThatIsThereIsNotWrittenAgain, since registries with immutable tags, such as ECR and Harbor, refuse that.
func TestATagThatIsThereIsNotWrittenAgain(t *testing.T) {
	var written sync.Map
	immutable := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, tag, _ := strings.Cut(r.URL.Path, "/manifests/")
			if r.Method == http.MethodPut && tag != "" && !strings.Contains(tag, ":") {
				if _, again := written.LoadOrStore(tag, true); again {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, immutable), withAttachments)
	want := s.source.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, 1, 1<<8))
	s.source.PushImage(t, "team/app", tagOf(want)+".sig", registrytest.Image(t, 1, 1<<8))
	s.copied(s.order(want))
	s.copied(s.order(want))
	s.isWhole("cache/shop/app", "0", want)
}
