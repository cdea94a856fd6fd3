package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	images "github.com/google/go-containerregistry/pkg/registry"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
	"github.com/images-io/tagger/internal/transfer"
)

// caughtUp copies what was attached since the copy.
func (s *stage) caughtUp(order registry.CopyRequest) transfer.CopyResult {
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
			s := newStage(t, registrytest.NewPlainGuarded(t, nil, images.WithReferrersSupport(lists)), registrytest.NewPlainUpstream(t), withBestEffort)
			made := registrytest.Image(t, 1, 1<<10)
			want := s.source.PushImage(t, "team/app", "latest", made)
			order := s.order(want)
			s.copied(order)
			s.caughtUp(order) // finds out whether the source lists referrers
			attach := map[string]func() (tag, digest string){
				".sig": func() (string, string) {
					return tagOf(want) + ".sig", s.source.PushImage(t, "team/app", tagOf(want)+".sig", registrytest.Image(t, 1, 1<<8))
				},
				".att": func() (string, string) {
					return tagOf(want) + ".att", s.source.PushImage(t, "team/app", tagOf(want)+".att", registrytest.Image(t, 1, 1<<8))
				},
				"referrer": func() (string, string) {
					one := s.source.PushImage(t, "team/app", "one", attachedTo(t, made))
					if !lists {
						s.source.PutManifest(t, "team/app", tagOf(want), ociIndex, sizedIndexOf(t, s.source, "team/app", one))
					}
					return one, one
				},
			}
			for kind, push := range attach {
				tag, digest := push()
				if done := s.caughtUp(order); done.Attachments != 1 || done.Missing != "" || done.Uploaded == 0 {
					t.Errorf("%s: got %+v", kind, done)
				}
				s.isWhole("cache/shop/app", tag, digest)
				asked, told := s.source.Count("", ""), s.mirror.Count("", "")
				if done := s.caughtUp(order); done.Attachments != 0 {
					t.Errorf("%s: once more, got %+v", kind, done)
				}
				if asked, told = s.source.Count("", "")-asked, s.mirror.Count("", "")-told; asked > 3 || told != 0 {
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
		s := newStage(t, registrytest.NewPlainGuarded(t, guard), registrytest.NewPlainUpstream(t), withBestEffort, at(clock))
		want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
		signature := s.source.PushImage(t, "team/app", tagOf(want)+".sig", registrytest.Image(t, 1, 1<<8))
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

// TestAttachmentsAreLookedForAsWhoIsLetIn: a pull secret that is over sees no attachments, which does not mean that there are none.
func TestAttachmentsAreLookedForAsWhoIsLetIn(t *testing.T) {
	s := newStage(t, registrytest.NewPlainGuarded(t, wanting("robot", "right")), registrytest.NewPlainUpstream(t), withBestEffort)
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	order := s.order(want, func(o *registry.CopyRequest) {
		o.Keyring = keyring(t, auths(t, map[string]map[string]string{
			s.source.Host() + "/team/app": login("robot", "over"), s.source.Host(): login("robot", "right"),
		}))
	})
	s.copied(order)
	s.client = newClient(t, nil, insecureHosts(t, s.source), withBestEffort) // after a restart
	signature := s.source.PushImage(t, "team/app", tagOf(want)+".sig", registrytest.Image(t, 1, 1<<8))
	if done := s.caughtUp(order); done.Attachments != 1 {
		t.Errorf("got %+v", done)
	}
	s.isWhole("cache/shop/app", tagOf(want)+".sig", signature)
}

// referrers attaches artifacts to an image at the source.
func (s *stage) referrers(of gcr.Image, count int, size int64) {
	s.t.Helper()
	for i := range count {
		oci := mutate.MediaType(mutate.ConfigMediaType(registrytest.Image(s.t, 1, size), "application/vnd.example.signature"), types.OCIManifestSchema1)
		subject := gcr.Descriptor{MediaType: types.OCIManifestSchema1}
		if err := json.Unmarshal(fmt.Appendf(nil, "%q", registrytest.DigestOf(s.t, of)), &subject.Digest); err != nil {
			s.t.Fatal(err)
		}
		s.source.PushImage(s.t, "team/app", fmt.Sprint("referrer-", i), mutate.Subject(oci, subject).(gcr.Image))
	}
}

// TestWhatIsRefusedIsNotTriedAgain at each verification: manifests of docker.io that are read count as pulls.
func TestWhatIsRefusedIsNotTriedAgain(t *testing.T) {
	refuses := refusing(http.StatusMethodNotAllowed, func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:")
	})
	s := newStage(t, registrytest.NewPlainGuarded(t, nil, images.WithReferrersSupport(true)), registrytest.NewPlainGuarded(t, refuses), withBestEffort)
	made := registrytest.Image(t, 1, 1<<10)
	order := s.order(s.source.PushImage(t, "team/app", "latest", made))
	s.referrers(made, 10, 1<<8)
	first := s.copied(order)
	asked, told := s.source.Count("", ""), s.mirror.Count("", "")
	again := s.caughtUp(order)
	if asked, told = s.source.Count("", "")-asked, s.mirror.Count("", "")-told; asked > 3 || told != 0 || again.Uploaded != 0 {
		t.Errorf("%d requests to the source and %d to the mirror, %d bytes sent", asked, told, again.Uploaded)
	}
	if again.Missing != first.Missing || !strings.Contains(again.Missing, "405") {
		t.Errorf("missing is %q, was %q", again.Missing, first.Missing)
	}
}

// TestWhatTheMirrorLostIsCopiedAgain although it was there before, and the first try of it fails.
func TestWhatTheMirrorLostIsCopiedAgain(t *testing.T) {
	var broken atomic.Bool
	guard := func(next http.Handler) http.Handler {
		refused := refusing(http.StatusServiceUnavailable, func(r *http.Request) bool { return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".sig") })(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if broken.Load() {
				refused.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	clock := newClock()
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, guard), withBestEffort, at(clock))
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	signature := s.source.PushImage(t, "team/app", tagOf(want)+".sig", registrytest.Image(t, 1, 1<<8))
	order := s.order(want)
	s.copied(order)
	for _, lost := range []string{tagOf(want) + ".sig", signature, "0", want} {
		s.mirror.Images.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodDelete, "/v2/cache/shop/app/manifests/"+lost, nil))
	}
	broken.Store(true)
	if done, err := s.client.Copy(t.Context(), order); err == nil && done.Missing == "" {
		t.Errorf("got %+v", done)
	}
	broken.Store(false)
	pass(clock, time.Hour)
	s.caughtUp(order)
	s.isWhole("cache/shop/app", tagOf(want)+".sig", signature)
}

// TestNothingIsNewAfterARestart, whatever a process remembers.
func TestNothingIsNewAfterARestart(t *testing.T) {
	s := newStage(t, registrytest.NewPlainGuarded(t, nil, images.WithReferrersSupport(true)), registrytest.NewPlainUpstream(t), withBestEffort)
	made := registrytest.Image(t, 1, 1<<10)
	want := s.source.PushImage(t, "team/app", "latest", made)
	s.source.PushImage(t, "team/app", tagOf(want)+".sig", signed(t, "a"))
	s.referrers(made, 1, 1<<8)
	order := s.order(want)
	s.copied(order)
	s.client = newClient(t, nil, insecureHosts(t, s.source), withBestEffort)
	if done := s.caughtUp(order); done.Attachments != 0 || done.Missing != "" {
		t.Errorf("got %+v", done)
	}
}

// TestAttachmentsCountForTheSizeOfAnImage, all of them together.
func TestAttachmentsCountForTheSizeOfAnImage(t *testing.T) {
	s := newStage(t, registrytest.NewPlainGuarded(t, nil, images.WithReferrersSupport(true)), registrytest.NewPlainUpstream(t), withBestEffort, func(o *registry.Options) {
		o.Copies.MaxImageSize = 100 << 10
	})
	made := registrytest.Image(t, 1, 1<<10)
	want := s.source.PushImage(t, "team/app", "latest", made)
	s.referrers(made, 8, 40<<10)
	done := s.copied(s.order(want))
	if done.Attachments != 2 || !strings.Contains(done.Missing, "--mirror-max-image-size") || done.Uploaded > 100<<10 {
		t.Errorf("got %+v", done)
	}
	s.isWhole("cache/shop/app", "0", want)
}

// TestReferrers_TooManyDoNotBlockImage: the image is there without what the list names.
func TestReferrers_TooManyDoNotBlockImage(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withBestEffort)
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	s.source.Serve("team/app", tagOf(want), ociIndex, indexOf(ociImage, slices.Repeat([]string{want}, 129)...))
	if done := s.copied(s.order(want)); done.Attachments != 0 || !strings.Contains(done.Missing, "lists more than 128 manifests") {
		t.Errorf("got %+v", done)
	}
	s.isWhole("cache/shop/app", "0", want)
}
