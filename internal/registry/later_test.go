package registry_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	images "github.com/google/go-containerregistry/pkg/registry"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/images-io/tagger/internal/registry"
)

// caughtUp copies what was attached since the copy.
func (s *stage) caughtUp(order registry.Order) registry.Copied {
	s.t.Helper()
	done, err := s.client.CopyAttachments(s.t.Context(), order)
	if err != nil {
		s.t.Fatal(err)
	}
	return done
}

// TestWhatIsAttachedLaterIsCopied is cosign sign after the image was mirrored. Where nothing is new, that is found out with three requests.
func TestWhatIsAttachedLaterIsCopied(t *testing.T) {
	for name, lists := range map[string]bool{"the source lists referrers": true, "the source has an index of them": false} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, newPlainGuarded(t, nil, images.WithReferrersSupport(lists)), newPlainUpstream(t), withBestEffort)
			made := image(t, 1, 1<<10)
			want := s.source.pushImage(t, "team/app", "latest", made)
			order := s.order(want)
			s.copied(order)
			s.caughtUp(order) // finds out whether the source lists referrers
			attach := map[string]func() (tag, digest string){
				".sig": func() (string, string) {
					return tagOf(want) + ".sig", s.source.pushImage(t, "team/app", tagOf(want)+".sig", image(t, 1, 1<<8))
				},
				".att": func() (string, string) {
					return tagOf(want) + ".att", s.source.pushImage(t, "team/app", tagOf(want)+".att", image(t, 1, 1<<8))
				},
				"referrer": func() (string, string) {
					one := s.source.pushImage(t, "team/app", "one", attachedTo(t, made))
					if !lists {
						s.source.put(t, "team/app", tagOf(want), ociIndex, s.source.indexOf(t, "team/app", one))
					}
					return one, one
				},
			}
			for kind, push := range attach {
				tag, digest := push()
				if done := s.caughtUp(order); done.Attachments != 1 || done.Missing != "" || done.Sent == 0 {
					t.Errorf("%s: got %+v", kind, done)
				}
				s.isWhole("cache/shop/app", tag, digest)
				asked, told := s.source.count("", ""), s.mirror.count("", "")
				if done := s.caughtUp(order); done.Attachments != 0 {
					t.Errorf("%s: once more, got %+v", kind, done)
				}
				if asked, told = s.source.count("", "")-asked, s.mirror.count("", "")-told; asked > 3 || told != 0 {
					t.Errorf("%s: nothing new took %d requests to the source and %d to the mirror, want 3 and none", kind, asked, told)
				}
			}
			if listed, _ := s.listedAt("cache/shop/app", tagOf(want)); len(listed) != 1 {
				t.Errorf("the mirror lists %v", listed)
			}
		})
	}
}

// TestWhatWasMissingIsCopiedLater, be it that a registry refused it, or that it could not be had.
func TestWhatWasMissingIsCopiedLater(t *testing.T) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
		broken := true
		guard := func(next http.Handler) http.Handler {
			refused := refusing(status, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ".sig") })(next)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if broken {
					refused.ServeHTTP(w, r)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
		clock := newClock()
		s := newStage(t, newPlainGuarded(t, guard), newPlainUpstream(t), withBestEffort, at(clock))
		want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
		signature := s.source.pushImage(t, "team/app", tagOf(want)+".sig", image(t, 1, 1<<8))
		order := s.order(want)
		if done := s.copied(order); done.Missing == "" {
			t.Errorf("%d: got %+v, want that something may be missing", status, done)
		}
		s.isWhole("cache/shop/app", "0", want)
		broken = false
		pass(clock, time.Hour)
		if done := s.caughtUp(order); done.Attachments != 1 || done.Missing != "" {
			t.Errorf("%d: got %+v", status, done)
		}
		s.isWhole("cache/shop/app", tagOf(want)+".sig", signature)
	}
}

// signed is what cosign keeps under a tag: payloads as layers, whose signatures are annotations.
func signed(t *testing.T, signatures ...string) gcr.Image {
	t.Helper()
	payload := image(t, 1, 1<<8)
	layers, err := payload.Layers()
	if err != nil {
		t.Fatal(err)
	}
	made := mutate.MediaType(image(t, 0, 0), types.OCIManifestSchema1)
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
	s.mirror.images.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/cache/shop/app/manifests/"+tag, nil))
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

// TestASignatureThatWasMadeAtTheMirrorStays, whatever the source gets.
func TestASignatureThatWasMadeAtTheMirrorStays(t *testing.T) {
	for name, copy := range map[string]func(*stage, registry.Order){
		"by what is attached later": func(s *stage, order registry.Order) { s.caughtUp(order) },
		"by the next import":        func(s *stage, order registry.Order) { order.Tag = "1"; s.copied(order) },
		"after a restart": func(s *stage, order registry.Order) {
			s.client = newClient(s.t, nil, insecureHosts(s.t, s.source), withBestEffort)
			s.caughtUp(order)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, newPlainUpstream(t), newPlainUpstream(t), withBestEffort)
			want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
			tag, order := tagOf(want)+".sig", s.order(want)
			first := signed(t, "a")
			s.source.pushImage(t, "team/app", tag, first)
			s.copied(order)

			s.mirror.pushImage(t, "cache/shop/app", tag, extended(t, first, "m"))
			copy(s, order)
			s.hasSignatures(tag, "a", "m")

			second := extended(t, first, "b")
			s.source.pushImage(t, "team/app", tag, second)
			copy(s, order)
			s.hasSignatures(tag, "a", "b", "m")

			s.source.pushImage(t, "team/app", tag, extended(t, second, "c"))
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
	s := newStage(t, newPlainUpstream(t), newPlainUpstream(t), withBestEffort)
	want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
	tag, order := tagOf(want)+".sig", s.order(want)
	s.copied(order)
	mirrors := s.mirror.pushIndex(t, "cache/shop/app", tag, platforms(t, 1, 1, 1<<8))
	s.source.pushImage(t, "team/app", tag, signed(t, "a"))
	done := s.caughtUp(order)
	if !strings.Contains(done.Missing, "the tag "+tag+" cannot be merged with what the source has: one is an index and the other is an image; delete the tag to have it replaced") {
		t.Errorf("got %+v", done)
	}
	if got := s.holds("cache/shop/app", tag); got != mirrors {
		t.Errorf("the tag has %s, want %s", got, mirrors)
	}
}

// TestAttachmentsAreLookedForAsWhoIsLetIn: a pull secret that is over sees no attachments, which does not mean that there are none.
func TestAttachmentsAreLookedForAsWhoIsLetIn(t *testing.T) {
	s := newStage(t, newPlainGuarded(t, wanting("robot", "right")), newPlainUpstream(t), withBestEffort)
	want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
	order := s.order(want, func(o *registry.Order) {
		o.Credentials = keyring(t, auths(t, map[string]map[string]string{
			s.source.host() + "/team/app": login("robot", "over"), s.source.host(): login("robot", "right"),
		}))
	})
	s.copied(order)
	s.client = newClient(t, nil, insecureHosts(t, s.source), withBestEffort) // after a restart
	signature := s.source.pushImage(t, "team/app", tagOf(want)+".sig", image(t, 1, 1<<8))
	if done := s.caughtUp(order); done.Attachments != 1 {
		t.Errorf("got %+v", done)
	}
	s.isWhole("cache/shop/app", tagOf(want)+".sig", signature)
}
