package registry_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registrytest"
	"github.com/images-io/tagger/internal/transfer"
)

func TestATagIsRemovedAndItsManifestStays(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, tokensOf(map[string]string{"cache": cachePassword}).guard))
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	order := s.order(want, asCache)
	s.copied(order)
	for range 2 { // what is gone already is no error
		if err := s.client.Untag(t.Context(), order.Destination, "0"); err != nil {
			t.Fatal(err)
		}
	}
	if s.holds("cache/shop/app", "0") != "" || s.holds("cache/shop/app", want) != want {
		t.Error("not the tag was removed, or not only the tag")
	}
	for range 2 {
		if err := s.client.Delete(t.Context(), order.Destination, want); err != nil {
			t.Fatal(err)
		}
	}
	if s.holds("cache/shop/app", want) != "" {
		t.Error("the manifest is still there")
	}
}

func TestWhatAManifestNamesIsReadOnce(t *testing.T) {
	s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t))
	inner := registrytest.Platforms(t, 2, 1, 1<<10)
	want := s.source.PushIndex(t, "team/app", "latest", registrytest.IndexAround(inner, registrytest.Platforms(t, 1, 1, 1<<10)))
	order := s.order(want)
	s.copied(order)
	s = newStage(t, s.source, s.mirror) // with a client that copied nothing
	s.mirror.ClearLog()
	for range 2 {
		levels, err := s.client.ListManifests(t.Context(), order.Destination, want, registrytest.DigestOf(t, inner))
		if err != nil {
			t.Fatal(err)
		}
		if len(levels) != 3 || !slices.Equal(levels[0], []string{want, registrytest.DigestOf(t, inner)}) || len(levels[1]) != 3 || len(levels[2]) != 1 {
			t.Errorf("got %v", levels)
		}
	}
	if reads := s.mirror.Count(http.MethodGet, "/manifests/"); reads != 6 {
		t.Errorf("%d were read", reads)
	}
	if levels, err := s.client.ListManifests(t.Context(), order.Destination, "sha256:"+strings.Repeat("0", 64)); err != nil || len(levels) != 0 {
		t.Errorf("what is not there is %v, %v", levels, err)
	}
}

// TestWhatACopyThatDidNotEndLeftIsKnown: one platform came, and the index that would name it never did.
func TestWhatACopyThatDidNotEndLeftIsKnown(t *testing.T) {
	came, lost := registrytest.Image(t, 1, 1<<10), registrytest.Image(t, 1, 1<<10)
	first, index := registrytest.DigestOf(t, came), mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: came}, mutate.IndexAddendum{Add: lost})
	config, err := lost.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{})
	tells := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, first) {
				close(arrived)
			}
		})
	}
	loses := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/blobs/"+config.String()) {
				<-arrived
				registrytest.Refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	s := newStage(t, registrytest.NewPlainGuarded(t, loses), registrytest.NewPlainGuarded(t, tells))
	order := s.order(s.source.PushIndex(t, "team/app", "latest", index))
	s.refused(order)
	levels, err := s.client.ListManifests(t.Context(), order.Destination, order.Digest)
	if err != nil || len(levels) != 2 || !slices.Equal(levels[1], []string{first}) {
		t.Errorf("got %v, %v; want %s below %s", levels, err, first, order.Digest)
	}
}

func TestARegistryThatDoesNotDelete(t *testing.T) {
	for _, row := range []struct {
		name      string
		status    int
		code      string
		forbidden bool
	}{
		{name: "it is turned off", status: http.StatusMethodNotAllowed, code: "UNSUPPORTED", forbidden: true},
		{name: "tags are not deleted", status: http.StatusBadRequest, code: "DIGEST_INVALID", forbidden: true},
		{name: "it is unsupported, with another status", status: http.StatusNotImplemented, code: "UNSUPPORTED", forbidden: true},
		{name: "it is denied to us", status: http.StatusForbidden, code: "DENIED", forbidden: true},
		{name: "it wants a password", status: http.StatusUnauthorized, code: "UNAUTHORIZED"},
		{name: "it is broken", status: http.StatusBadGateway},
		{name: "it is gone already", status: http.StatusNotFound, code: "MANIFEST_UNKNOWN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainGuarded(t, answersWith(func(w http.ResponseWriter, _ *http.Request) { registrytest.Refuse(w, row.status, row.code, "no") })))
			err := s.client.Untag(t.Context(), s.order("").Destination, "0")
			if row.status == http.StatusNotFound {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var failure *regerr.Error
			if !errors.As(err, &failure) || failure.Reason() != v1.ReasonMirrorUnavailable || errors.Is(err, transfer.ErrDeletionForbidden) != row.forbidden {
				t.Errorf("got %v", err)
			}
		})
	}
}
