package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

// refuseWith answers as a registry does that has several things to say.
func refuseWith(w http.ResponseWriter, status int, errors ...[2]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	var all []map[string]string
	for _, one := range errors {
		all = append(all, map[string]string{"code": one[0], "message": one[1]})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": all})
}

// TestEveryErrorOfARegistryIsQuoted within the 1 KiB of a status.
func TestEveryErrorOfARegistryIsQuoted(t *testing.T) {
	var many [][2]string
	for i := range 30 {
		many = append(many, [2]string{"MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("blob %d %s", i, strings.Repeat("x", 150))})
	}
	for _, row := range []struct {
		name   string
		errors [][2]string
		want   []string
		reason v1.Reason
	}{
		{name: "one", errors: [][2]string{{"DENIED", "not you"}}, want: []string{"DENIED: not you"}, reason: v1.ReasonUnauthorized},
		{name: "three", errors: [][2]string{{"UNSUPPORTED", "the first"}, {"DENIED", "the second"}, {"UNKNOWN", "the third"}},
			want: []string{"UNSUPPORTED: the first", "DENIED: the second", "UNKNOWN: the third"}, reason: v1.ReasonUnauthorized},
		{name: "three long ones", errors: [][2]string{{"DENIED", strings.Repeat("a", 2000)}, {"DENIED", strings.Repeat("b", 2000)}, {"UNKNOWN", "the third"}},
			want: []string{"DENIED: aaaa", "DENIED: bbbb", "UNKNOWN: the third", "tried anonymously"}, reason: v1.ReasonUnauthorized},
		{name: "30", errors: many, want: []string{"blob 0"}, reason: v1.ReasonUnavailable},
		{name: "one that is no registry's", errors: [][2]string{{"Access Denied!", "secret page"}, {"DENIED", "the second"}}, want: []string{"DENIED: the second"}, reason: v1.ReasonUnauthorized},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, answersWith(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				refuseWith(w, http.StatusBadRequest, row.errors...)
			}))
			got := failure(t, newClient(t, u), u.Host()+"/team/app", anonymous)
			for _, want := range row.want {
				if !strings.Contains(got.Error(), want) {
					t.Errorf("%q is not in %q", want, got)
				}
			}
			if got.Reason() != row.reason || !isPrintable(got.Error()) || strings.Contains(got.Error(), "secret page") {
				t.Errorf("got %s, %d bytes: %v", got.Reason(), len(got.Error()), got)
			}
		})
	}
}

// TestErrors_403WithMessage: Harbor and Quay refuse with it what exceeds a quota.
func TestErrors_403WithMessage(t *testing.T) {
	for _, code := range []string{"DENIED", "QUOTA_EXCEEDED", "UNAUTHORIZED"} {
		const message = "adding 1.2 GiB of storage will exceed the configured upper limit of 10 GiB"
		exceeded := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodPut || strings.HasPrefix(r.URL.Path, "/v2/full/") && r.Method == http.MethodGet {
					registrytest.Refuse(w, http.StatusForbidden, code, message)
					return
				}
				if strings.HasPrefix(r.URL.Path, "/v2/full/") {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
		t.Run("the mirror, "+code, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, exceeded))
			got := s.refused(s.order(s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 100))))
			if text := got.Error(); got.Reason() != v1.ReasonMirrorUnavailable || !strings.Contains(text, message) || strings.Contains(text, "USERNAME") || strings.Contains(text, "check") {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
		})
		t.Run("a source, "+code, func(t *testing.T) {
			u := registrytest.NewUpstream(t, exceeded)
			got := failure(t, newClient(t, u), u.Host()+"/full/app", anonymous)
			if text := got.Error(); got.Reason() != v1.ReasonUnauthorized || !strings.Contains(text, message) || strings.Contains(text, "access is refused") {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
		})
	}
}

// TestErrors_MissingChildIsNamed: the repository is there, and so is the tag.
func TestErrors_MissingChildIsNamed(t *testing.T) {
	lacks := func(part string, status int) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if part != "" && strings.Contains(r.URL.Path, part) && r.Method == http.MethodGet {
					registrytest.Refuse(w, status, "MANIFEST_UNKNOWN", "manifest unknown")
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	index := registrytest.Platforms(t, 2, 1, 100)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	child := manifest.Manifests[1].Digest.String()
	one, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := one.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer := registrytest.DigestOf(t, layers[0])
	for name, row := range map[string]struct {
		part   string
		status int
	}{
		"a manifest":             {child, http.StatusNotFound},
		"a manifest, with a 400": {child, http.StatusBadRequest},
		"a blob":                 {layer, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainGuarded(t, lacks("/"+row.part, row.status)), registrytest.NewPlainUpstream(t))
			got := s.refused(s.order(s.source.PushIndex(t, "team/app", "latest", index)))
			if text := got.Error(); got.Reason() != v1.ReasonNotFound || !strings.Contains(text, "does not have") || !strings.Contains(text, row.part) || strings.Contains(text, "no such repository") {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
		})
	}
	t.Run("when resolving without HEAD", func(t *testing.T) {
		missing := digest.FromString("missing").String()
		u := registrytest.NewUpstream(t, answersWith(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodHead:
				w.WriteHeader(http.StatusMethodNotAllowed)
			case strings.HasSuffix(r.URL.Path, "/latest"):
				_, _ = fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","size":2,"digest":%q}]}`, missing)
			default:
				registrytest.Refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
			}
		}))
		got := failure(t, newClient(t, u), u.Host()+"/team/app", anonymous)
		if text := got.Error(); !strings.Contains(text, "does not have manifest "+missing) {
			t.Errorf("got %s: %v", got.Reason(), got)
		}
	})
}

// TestASourceThatIsASha512Digest is mirrored where the mirror stores it, and refused for good where it does not.
func TestASourceThatIsASha512Digest(t *testing.T) {
	made := registrytest.Image(t, 1, 100)
	content, err := made.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	wanted := digest.SHA512.FromBytes(content).String()
	knowsSha256Only := func(code string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/manifests/sha512:") {
					registrytest.Refuse(w, http.StatusBadRequest, code, "provided digest did not match uploaded content")
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	for name, row := range map[string]struct {
		guard  func(http.Handler) http.Handler
		reason v1.Reason
	}{
		"a mirror that stores it":              {nil, ""},
		"a mirror that answers DIGEST_INVALID": {knowsSha256Only("DIGEST_INVALID"), v1.ReasonInvalidContent},
		"a mirror that answers UNSUPPORTED":    {knowsSha256Only("UNSUPPORTED"), v1.ReasonInvalidContent},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, row.guard))
			s.source.PushImage(t, "team/app", "latest", made)
			s.source.PushImage(t, "team/app", "other", made)
			r := httptest.NewRequest(http.MethodPut, "/v2/team/app/manifests/"+wanted, strings.NewReader(string(content)))
			r.Header.Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			s.source.Images.ServeHTTP(httptest.NewRecorder(), r)
			if row.reason == "" {
				s.copied(s.order(wanted))
				s.copied(s.order(wanted))
				s.isWhole("cache/shop/app", "0", registrytest.DigestOf(t, made))
				s.isWhole("cache/shop/app", wanted, registrytest.DigestOf(t, made))
				return
			}
			got := s.refused(s.order(wanted))
			if text := got.Error(); got.Reason() != row.reason || !got.Terminal() || !strings.Contains(text, wanted[:30]) || !strings.Contains(text, "spec.cache") {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
		})
	}
}
