package registry_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

// signed is what cosign keeps under a tag: payloads as layers, whose signatures are annotations.
func signed(t *testing.T, signatures ...string) gcr.Image {
	t.Helper()
	payload := registrytest.Image(t, 1, 1<<8)
	layers, err := payload.Layers()
	if err != nil {
		t.Fatal(err)
	}
	made := mutate.MediaType(registrytest.Image(t, 0, 0), types.OCIManifestSchema1)
	for _, signature := range signatures {
		if made, err = mutate.Append(made, mutate.Addendum{Layer: layers[0], Annotations: map[string]string{"dev.cosignproject.cosign/signature": signature}}); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// extended is the image with one more signature, as cosign makes it.
func extended(t *testing.T, base gcr.Image, signature string) gcr.Image {
	t.Helper()
	layers, err := base.Layers()
	if err != nil {
		t.Fatal(err)
	}
	made, err := mutate.Append(base, mutate.Addendum{Layer: layers[0], Annotations: map[string]string{"dev.cosignproject.cosign/signature": signature}})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// signaturesAt are those that the mirror has under a tag.
func (s *stage) signaturesAt(tag string) (signatures []string) {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.mirror.Images.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/cache/shop/app/manifests/"+tag, nil))
	var manifest struct {
		Layers []struct{ Annotations map[string]string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &manifest); err != nil {
		s.t.Fatal(err)
	}
	for _, layer := range manifest.Layers {
		signatures = append(signatures, layer.Annotations["dev.cosignproject.cosign/signature"])
	}
	return signatures
}

// TestUnion_MirrorSignatureStays, whatever the source gets.
func TestUnion_MirrorSignatureStays(t *testing.T) {
	for name, copy := range map[string]func(*stage, registry.CopyRequest){
		"by what is attached later": func(s *stage, order registry.CopyRequest) { s.caughtUp(order) },
		"by the next import":        func(s *stage, order registry.CopyRequest) { order.Tag = "1"; s.copied(order) },
		"after a restart": func(s *stage, order registry.CopyRequest) {
			s.client = newClient(s.t, nil, insecureHosts(s.t, s.source), withBestEffort)
			s.caughtUp(order)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withBestEffort)
			want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
			tag, order := tagOf(want)+".sig", s.order(want)
			first := signed(t, "a")
			s.source.PushImage(t, "team/app", tag, first)
			s.copied(order)

			s.mirror.PushImage(t, "cache/shop/app", tag, extended(t, first, "m"))
			copy(s, order)
			s.hasSignatures(tag, "a", "m")

			second := extended(t, first, "b")
			s.source.PushImage(t, "team/app", tag, second)
			copy(s, order)
			s.hasSignatures(tag, "a", "b", "m")

			s.source.PushImage(t, "team/app", tag, extended(t, second, "c"))
			copy(s, order)
			s.hasSignatures(tag, "a", "b", "c", "m")
			union := s.holds("cache/shop/app", tag)
			copy(s, order)
			if again := s.holds("cache/shop/app", tag); again != union {
				t.Errorf("the tag is written again: %s, was %s", again, union)
			}
			if missing := s.missing("cache/shop/app", tag); len(missing) > 0 {
				t.Errorf("the mirror lacks %v", missing)
			}
		})
	}
}

func (s *stage) hasSignatures(tag string, want ...string) {
	s.t.Helper()
	if got := s.signaturesAt(tag); !slices.Equal(got, want) {
		s.t.Errorf("the mirror has the signatures %v, want %v", got, want)
	}
}

// TestWhatCannotBeMergedStays, and it is said what to do.
func TestWhatCannotBeMergedStays(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withBestEffort)
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	tag, order := tagOf(want)+".sig", s.order(want)
	s.copied(order)
	mirrors := s.mirror.PushIndex(t, "cache/shop/app", tag, registrytest.Platforms(t, 1, 1, 1<<8))
	s.source.PushImage(t, "team/app", tag, signed(t, "a"))
	done := s.caughtUp(order)
	if !strings.Contains(done.Missing, "the tag "+tag+" cannot be merged with what the source has: one is an index and the other is an image; delete the tag to have it replaced") {
		t.Errorf("got %+v", done)
	}
	if got := s.holds("cache/shop/app", tag); got != mirrors {
		t.Errorf("the tag has %s, want %s", got, mirrors)
	}
}

// TestUnion_SameSignatureOtherForm: registries and tools order the keys of JSON as they like.
func TestUnion_SameSignatureOtherForm(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withBestEffort)
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	tag, order := tagOf(want)+".sig", s.order(want)
	first := signed(t, "a<b")
	s.source.PushImage(t, "team/app", tag, first)
	content, err := first.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	var manifest map[string]any
	if err := json.Unmarshal(content, &manifest); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	s.source.PutManifest(t, "team/app", tag, ociImage, string(sorted))
	s.copied(order)
	s.mirror.PushImage(t, "cache/shop/app", tag, extended(t, first, "m"))
	s.client = newClient(t, nil, insecureHosts(t, s.source), withBestEffort)
	s.caughtUp(order)
	s.hasSignatures(tag, "a<b", "m")
}
