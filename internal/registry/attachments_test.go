package registry_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	images "github.com/google/go-containerregistry/pkg/registry"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

func withAttachments(options *registry.Options) { options.Copies.Attachments = true }

// attachedTo is an artifact whose subject is the image.
func attachedTo(t *testing.T, subject gcr.Image) gcr.Image {
	t.Helper()
	return commentedTo(t, subject, "")
}

// commentedTo is one with a comment.
func commentedTo(t *testing.T, subject gcr.Image, comment string) gcr.Image {
	t.Helper()
	digest, err := subject.Digest()
	if err != nil {
		t.Fatal(err)
	}
	size, err := subject.Size()
	if err != nil {
		t.Fatal(err)
	}
	oci := mutate.MediaType(mutate.ConfigMediaType(registrytest.Image(t, 1, 1<<8), "application/vnd.example.signature"), types.OCIManifestSchema1)
	if comment != "" {
		oci = mutate.Annotations(oci, map[string]string{"comment": comment}).(gcr.Image)
	}
	return mutate.Subject(oci, gcr.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digest, Size: size}).(gcr.Image)
}

// tagOf is the tag of the referrers tag schema.
func tagOf(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// sizedIndexOf returns an index of manifests in a repository, with their sizes.
func sizedIndexOf(t *testing.T, u *registrytest.Upstream, repository string, digests ...string) string {
	t.Helper()
	index := indexOf(ociImage, digests...)
	for _, digest := range digests {
		w := httptest.NewRecorder()
		u.Images.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/v2/"+repository+"/manifests/"+digest, nil))
		index = strings.Replace(index, `"`+digest+`","size":1}`, `"`+digest+`","size":`+w.Header().Get("Content-Length")+`}`, 1)
	}
	return index
}

// listedAt is what an index at the mirror names.
func (s *stage) listedAt(repository, tag string) (digests []string, kinds []string) {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.mirror.Images.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/"+repository+"/manifests/"+tag, nil))
	var index struct {
		Manifests []struct{ Digest, ArtifactType string }
	}
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, listed := range index.Manifests {
		digests, kinds = append(digests, listed.Digest), append(kinds, listed.ArtifactType)
	}
	return digests, kinds
}

func TestSignaturesOfCosignTravelWithTheImage(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
	want := s.source.PushIndex(t, "team/app", "latest", registrytest.Platforms(t, 2, 2, 1<<10))
	signature := s.source.PushImage(t, "team/app", tagOf(want)+".sig", registrytest.Image(t, 2, 1<<8))
	attestation := s.source.PushImage(t, "team/app", tagOf(want)+".att", registrytest.Image(t, 1, 1<<8))
	s.source.PushImage(t, "team/app", tagOf(want)+".sbom", registrytest.Image(t, 1, 1<<8))
	done := s.copied(s.order(want))
	s.isWhole("cache/shop/app", "0", want)
	s.isWhole("cache/shop/app", tagOf(want)+".sig", signature)
	s.isWhole("cache/shop/app", tagOf(want)+".att", attestation)
	if found := s.holds("cache/shop/app", tagOf(want)+".sbom"); found != "" || done.Attachments != 2 {
		t.Errorf("got %+v, and the SBOM is %q", done, found)
	}
}

func TestReferrersTravelWithTheImage(t *testing.T) {
	for _, lists := range []bool{true, false} {
		t.Run(fmt.Sprintf("the source lists them: %v", lists), func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainGuarded(t, nil, images.WithReferrersSupport(lists)), registrytest.NewPlainUpstream(t), withAttachments)
			made := registrytest.Image(t, 2, 1<<10)
			want := s.source.PushImage(t, "team/app", "latest", made)
			one := s.source.PushImage(t, "team/app", "one", attachedTo(t, made))
			other := s.source.PushImage(t, "team/app", "other", attachedTo(t, made))
			if !lists {
				s.source.PutManifest(t, "team/app", tagOf(want), ociIndex, sizedIndexOf(t, s.source, "team/app", one, other))
			}
			done := s.copied(s.order(want))
			if done.Attachments != 2 {
				t.Errorf("got %+v", done)
			}
			s.isWhole("cache/shop/app", one, one)
			s.isWhole("cache/shop/app", other, other)
			listed, kinds := s.listedAt("cache/shop/app", tagOf(want))
			slices.Sort(listed)
			expected := []string{one, other}
			slices.Sort(expected)
			if !slices.Equal(listed, expected) || kinds[0] != "application/vnd.example.signature" {
				t.Errorf("the mirror lists %v of %v", listed, kinds)
			}
			s.copied(s.order(want, func(o *registry.CopyRequest) { o.Tag = "1" }))
			if again, _ := s.listedAt("cache/shop/app", tagOf(want)); len(again) != 2 {
				t.Errorf("after another copy the mirror lists %v", again)
			}
		})
	}
}

// TestReferrers_IndexHasAnnotations, unless that is long: as texts in an index it may be six times as long.
func TestReferrers_IndexHasAnnotations(t *testing.T) {
	for comment, isListed := range map[string]bool{"short": true, strings.Repeat("<", 4<<10): false, strings.Repeat("a", 20<<10): false} {
		s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
		made := registrytest.Image(t, 1, 1<<10)
		want := s.source.PushImage(t, "team/app", "latest", made)
		attached := commentedTo(t, made, comment)
		s.source.PushImage(t, "team/app", "one", attached)
		manifest, err := attached.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		short := strings.ReplaceAll(string(manifest), `\u003c`, "<") // as others write it
		one := digest.FromString(short).String()
		s.source.PutManifest(t, "team/app", one, ociImage, short)
		s.source.PutManifest(t, "team/app", tagOf(want), ociIndex, sizedIndexOf(t, s.source, "team/app", one))
		s.copied(s.order(want))
		s.isWhole("cache/shop/app", one, one)
		w := httptest.NewRecorder()
		s.mirror.Images.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/cache/shop/app/manifests/"+tagOf(want), nil))
		index, err := gcr.ParseIndexManifest(w.Body)
		if err != nil || len(index.Manifests) != 1 || index.Manifests[0].Digest.String() != one {
			t.Fatalf("the mirror lists %v, %v", index, err)
		}
		if got := index.Manifests[0].Annotations["comment"]; (got == comment) != isListed {
			t.Errorf("of a comment of %d bytes %d are listed", len(comment), len(got))
		}
	}
}

// TestReferrers_MirrorTakesTagForImage is registry.gitlab.com as an internal registry.
func TestReferrers_MirrorTakesTagForImage(t *testing.T) {
	var want string
	takes := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if want != "" && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/"+tagOf(want)) {
				r.URL.Path = strings.TrimSuffix(r.URL.Path, tagOf(want)) + want
			}
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t, registrytest.NewPlainGuarded(t, nil, images.WithReferrersSupport(true)), registrytest.NewPlainGuarded(t, takes), withAttachments)
	made := registrytest.Image(t, 1, 1<<10)
	want = s.source.PushImage(t, "team/app", "latest", made)
	one := s.source.PushImage(t, "team/app", "one", attachedTo(t, made))
	for range 2 {
		s.copied(s.order(want))
		s.isWhole("cache/shop/app", one, one)
	}
}

// TestReferrers_NewReplacesOld has another list of attachments for the same image with every build.
func TestReferrers_NewReplacesOld(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
	made := registrytest.Image(t, 1, 1<<8)
	want := s.source.PushImage(t, "team/app", "latest", made)
	var former []string
	for build := range 3 {
		attached := []string{s.source.PushImage(t, "team/app", "again", attachedTo(t, made))}
		for range 63 {
			attached = append(attached, s.source.PushImage(t, "team/app", "again", attachedTo(t, made)))
		}
		s.source.Serve("team/app", tagOf(want), ociIndex, sizedIndexOf(t, s.source, "team/app", attached...))
		s.copied(s.order(want))
		listed, _ := s.listedAt("cache/shop/app", tagOf(want))
		if len(listed) != min(64*(build+1), 128) || !slices.Equal(listed[len(listed)-64:], attached) {
			t.Fatalf("build %d: the mirror lists %d attachments, of %d", build, len(listed), len(attached))
		}
		if build > 0 && !slices.Equal(listed[:64], former) {
			t.Errorf("build %d: what was attached before is not listed any more, although there is room", build)
		}
		former = attached
	}
}

func TestReferrers_NoIndexWithReferrersAPI(t *testing.T) {
	notes := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:") {
				w.Header().Set("OCI-Subject", "sha256:any")
			}
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t, registrytest.NewPlainGuarded(t, nil, images.WithReferrersSupport(true)), registrytest.NewPlainGuarded(t, notes), withAttachments)
	made := registrytest.Image(t, 2, 1<<10)
	want := s.source.PushImage(t, "team/app", "latest", made)
	one := s.source.PushImage(t, "team/app", "one", attachedTo(t, made))
	s.copied(s.order(want))
	s.isWhole("cache/shop/app", one, one)
	if count := s.mirror.Count("", "/manifests/sha256-"); count != 0 {
		t.Errorf("%d requests for an index", count)
	}
}

func TestAttachmentsAreThereBeforeTheImage(t *testing.T) {
	var order []string
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	signature := s.source.PushImage(t, "team/app", tagOf(want)+".sig", registrytest.Image(t, 1, 1<<8))
	s.copied(s.order(want))
	for _, r := range s.mirror.Requests(http.MethodPut, "/manifests/") {
		order = append(order, r.Path[strings.LastIndex(r.Path, "/")+1:])
	}
	if !slices.Equal(order, []string{signature, tagOf(want) + ".sig", "0"}) {
		t.Errorf("put in the order %v", order)
	}
}

func TestReferrers_NoneIsNoFailure(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		reason v1.Reason
		only   string // where, if not for all
	}{
		{name: "absent", answer: func(w http.ResponseWriter) { registrytest.Refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no") }},
		{name: "denied", answer: func(w http.ResponseWriter) { registrytest.Refuse(w, http.StatusForbidden, "DENIED", "no") }},
		{name: "a web page", answer: func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html></html>") }, only: "/referrers/"},
		{name: "unsupported", answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) }},
		{name: "not implemented", answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotImplemented) }},
		{name: "broken", reason: v1.ReasonUnavailable, answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }},
		{name: "slow", reason: v1.ReasonUnavailable, answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusRequestTimeout) }},
		{name: "busy", reason: v1.ReasonRateLimited, answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			guard := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.Contains(r.URL.Path, cmp.Or(row.only, "/manifests/sha256-")) || strings.Contains(r.URL.Path, "/referrers/") {
						row.answer(w)
						return
					}
					next.ServeHTTP(w, r)
				})
			}
			s := newStage(t, registrytest.NewPlainGuarded(t, guard), registrytest.NewPlainUpstream(t), withAttachments)
			want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
			if row.reason != "" {
				got := s.refused(s.order(want))
				if got.Reason() != row.reason || row.reason == v1.ReasonUnavailable && !strings.Contains(got.Error(), "such as signatures") {
					t.Errorf("got %s: %v", got.Reason(), got)
				}
				return
			}
			s.copied(s.order(want))
			s.isWhole("cache/shop/app", "0", want)
		})
	}
}

// TestAttachmentsThatNameOneAnother has a signature that an attestation names, by an index and by itself, and both name the image.
func TestAttachmentsThatNameOneAnother(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	signature := s.source.PushImage(t, "team/app", tagOf(want)+".sig", registrytest.Image(t, 1, 1<<8))
	s.source.PutManifest(t, "team/app", "inner", ociIndex, sizedIndexOf(t, s.source, "team/app", signature, want))
	inner := s.source.Digest(t, "team/app", "inner")
	s.source.PutManifest(t, "team/app", tagOf(want)+".att", ociIndex, sizedIndexOf(t, s.source, "team/app", inner, signature))
	if done := s.copied(s.order(want)); done.Attachments != 2 {
		t.Errorf("got %+v", done)
	}
	s.isWhole("cache/shop/app", "0", want)
	s.isWhole("cache/shop/app", tagOf(want)+".sig", signature)
	s.isWhole("cache/shop/app", tagOf(want)+".att", s.source.Digest(t, "team/app", tagOf(want)+".att"))
}

func TestASignatureAndAnAttestationMayBeOne(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
	made := registrytest.Image(t, 1, 1<<8)
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	for _, suffix := range []string{".sig", ".att"} {
		s.source.PushImage(t, "team/app", tagOf(want)+suffix, made)
	}
	s.copied(s.order(want))
	for _, suffix := range []string{".sig", ".att"} {
		s.isWhole("cache/shop/app", tagOf(want)+suffix, registrytest.DigestOf(t, made))
	}
}

func TestAReferrerThatIsGoneIsLeftOut(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
	made := registrytest.Image(t, 2, 1<<10)
	want := s.source.PushImage(t, "team/app", "latest", made)
	one := s.source.PushImage(t, "team/app", "one", attachedTo(t, made))
	index := strings.Replace(sizedIndexOf(t, s.source, "team/app", one), `"manifests":[`, `"manifests":[{"mediaType":"`+ociImage+`","digest":"sha256:`+strings.Repeat("0", 64)+`","size":1},`, 1)
	s.source.Serve("team/app", tagOf(want), ociIndex, index)
	if done := s.copied(s.order(want)); done.Attachments != 1 {
		t.Errorf("got %+v", done)
	}
	s.isWhole("cache/shop/app", one, one)
}

// TestReferrers_WrongSizeInList, since Harbor before 2.11 and Google Artifact Registry list wrong sizes.
func TestReferrers_WrongSizeInList(t *testing.T) {
	for _, comment := range []string{"", strings.Repeat("large", 20<<10)} {
		for _, size := range []string{"0", "1", "70000", "-1", "1099511627776"} {
			t.Run(fmt.Sprintf("%s of %d bytes more", size, len(comment)), func(t *testing.T) {
				s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
				made := registrytest.Image(t, 1, 1<<8)
				want := s.source.PushImage(t, "team/app", "latest", made)
				one := s.source.PushImage(t, "team/app", "one", commentedTo(t, made, comment))
				index := strings.Replace(indexOf(ociImage, one), `"size":1}`, `"size":`+size+`}`, 1)
				s.source.Serve("team/app", tagOf(want), ociIndex, index)
				if done := s.copied(s.order(want)); done.Attachments != 1 {
					t.Errorf("got %+v", done)
				}
				s.isWhole("cache/shop/app", one, one)
				s.isWhole("cache/shop/app", "0", want)
			})
		}
	}
}

func TestWhatIsTooMuchToBeAttached(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	s.source.Serve("team/app", tagOf(want), ociIndex, indexOf(ociImage, slices.Repeat([]string{want}, 129)...))
	got := s.refused(s.order(want))
	text := "lists more than 128 manifests that are attached to the image; the administrator can have what is attached left out with --mirror-attachments=false"
	if got.Reason() != v1.ReasonInvalidContent || !strings.Contains(got.Error(), text) {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
}

// TestAMediaTypeThatIsNone would be a header that cannot be sent, and the mirror would seem to fail.
func TestAMediaTypeThatIsNone(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
	s.source.PutManifest(t, "team/app", "child", ociImage, `{"schemaVersion":2,"mediaType":"a\nb","layers":[]}`)
	s.source.PutManifest(t, "team/app", "latest", ociIndex, sizedIndexOf(t, s.source, "team/app", s.source.Digest(t, "team/app", "child")))
	got := s.refused(s.order(s.source.Digest(t, "team/app", "latest")))
	if got.Reason() != v1.ReasonInvalidContent {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
}

// TestReferrers_TokenRefused: an image is not taken for unsigned because a token was over.
func TestReferrers_TokenRefused(t *testing.T) {
	var tokens atomic.Int32
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v2/", strings.HasSuffix(r.URL.Path, ".sig"), r.Header.Get("Authorization") == "" && r.URL.Path != "/token":
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			case r.URL.Path == "/token" && tokens.Add(1) == 1:
				_, _ = io.WriteString(w, `{"token":"t"}`)
			case r.URL.Path == "/token":
				registrytest.Refuse(w, http.StatusForbidden, "DENIED", "no")
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
	s := newStage(t, registrytest.NewPlainGuarded(t, guard), registrytest.NewPlainUpstream(t), withAttachments)
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	s.source.PushImage(t, "team/app", tagOf(want)+".sig", registrytest.Image(t, 1, 1<<8))
	got := s.refused(s.order(want)) // a blob may be refused first, with the same token
	if got.Reason() != v1.ReasonUnauthorized {
		t.Errorf("got %s: %v", got.Reason(), got)
	}
	if found := s.holds("cache/shop/app", "0"); found != "" {
		t.Errorf("%s is under the tag", found)
	}
}
