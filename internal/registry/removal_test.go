package registry_test

import (
	"errors"
	"net/http"
	"testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
)

func TestATagIsRemovedAndItsManifestStays(t *testing.T) {
	s := newStage(t, newPlainUpstream(t), newPlainGuarded(t, tokensOf(map[string]string{"cache": cachePassword}).guard))
	want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
	order := s.order(want, asCache)
	s.copied(order)
	for range 2 { // what is gone already is no error
		if err := s.client.Untag(t.Context(), order.To, "0"); err != nil {
			t.Fatal(err)
		}
	}
	if s.holds("cache/shop/app", "0") != "" || s.holds("cache/shop/app", want) != want {
		t.Error("not the tag was removed, or not only the tag")
	}
	for range 2 {
		if err := s.client.Delete(t.Context(), order.To, want); err != nil {
			t.Fatal(err)
		}
	}
	if s.holds("cache/shop/app", want) != "" {
		t.Error("the manifest is still there")
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
			s := newStage(t, newPlainUpstream(t), newPlainGuarded(t, func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, row.status, row.code, "no") })
			}))
			err := s.client.Untag(t.Context(), s.order("").To, "0")
			if row.status == http.StatusNotFound {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var failure *registry.Error
			if !errors.As(err, &failure) || failure.Reason() != v1.ReasonMirrorUnavailable || errors.Is(err, registry.ErrDeletionForbidden) != row.forbidden {
				t.Errorf("got %v", err)
			}
		})
	}
}
