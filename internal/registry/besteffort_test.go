package registry_test

import (
	"net/http"
	"strings"
	"testing"

	images "github.com/google/go-containerregistry/pkg/registry"

	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

func withBestEffort(options *registry.Options) {
	options.Copies.Attachments, options.Copies.BestEffort = true, true
}

// refusing has a registry answer requests that fit with a status.
func refusing(status int, fits func(*http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if fits(r) {
				registrytest.Refuse(w, status, "UNSUPPORTED", "not here")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// TestReferrers_RefusedIsMissing, and nothing else: not the image, and no other attachment.
func TestReferrers_RefusedIsMissing(t *testing.T) {
	of := func(method, part string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, part) }
	}
	for name, row := range map[string]struct {
		source, mirror func(http.Handler) http.Handler
		sig            bool // is copied
		says           string
	}{
		"the source lists referrers with a 500":            {refusing(http.StatusInternalServerError, of(http.MethodGet, "/referrers/")), nil, true, "500"},
		"the mirror refuses the tags of cosign (ECR)":      {nil, refusing(http.StatusMethodNotAllowed, of(http.MethodPut, ".sig")), false, "405"},
		"the mirror does not know them (Docker Hub)":       {nil, refusing(http.StatusNotFound, of(http.MethodPut, ".sig")), false, "404"},
		"the source refuses to show the signature":         {refusing(http.StatusForbidden, of(http.MethodGet, ".sig")), nil, false, ""},
		"the source has the signature, and not its layers": {nil, nil, false, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainGuarded(t, row.source, images.WithReferrersSupport(true)), registrytest.NewPlainGuarded(t, row.mirror), withBestEffort)
			made := registrytest.Image(t, 1, 1<<10)
			want := s.source.PushImage(t, "team/app", "latest", made)
			referrer := s.source.PushImage(t, "team/app", "referrer", attachedTo(t, made))
			signature := tagOf(want) + ".sig"
			if row.source == nil && row.mirror == nil {
				s.source.PutManifest(t, "team/app", signature, ociImage, `{"schemaVersion":2,"config":{"mediaType":"x/y","size":2,"digest":"sha256:`+strings.Repeat("0", 64)+`"},"layers":[]}`)
			} else {
				s.source.PushImage(t, "team/app", signature, registrytest.Image(t, 1, 1<<8))
			}
			done := s.copied(s.order(want))
			s.isWhole("cache/shop/app", "0", want)
			if !strings.Contains(done.Missing, row.says) || (row.says != "") != (done.Missing != "") {
				t.Errorf("missing is %q, want %q in it", done.Missing, row.says)
			}
			if got := s.holds("cache/shop/app", signature); (got != "") != row.sig {
				t.Errorf("the mirror has the signature %q", got)
			}
			if got := s.holds("cache/shop/app", referrer); (got != "") != (row.says != "500") {
				t.Errorf("the mirror has the referrer %q", got)
			}
		})
	}
}
