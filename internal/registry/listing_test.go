package registry_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	images "github.com/google/go-containerregistry/pkg/registry"
)

// TestATokenServiceDoesNotSayThatAReferrerIsGone has a token service that knows nobody any more when a manifest that is listed is read.
func TestATokenServiceDoesNotSayThatAReferrerIsGone(t *testing.T) {
	var one atomic.Value
	var isGone atomic.Bool
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			digest, _ := one.Load().(string)
			switch isReferrer := digest != "" && strings.HasSuffix(r.URL.Path, "/manifests/"+digest); {
			case r.URL.Path == "/token" && isGone.Load():
				w.WriteHeader(http.StatusNotFound)
			case r.URL.Path == "/token":
				_, _ = io.WriteString(w, `{"token":"t"}`)
			case r.Header.Get("Authorization") == "", isReferrer:
				isGone.Store(isReferrer)
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
	s := newStage(t, newPlainGuarded(t, guard, images.WithReferrersSupport(true)), newPlainUpstream(t), withAttachments)
	made := image(t, 1, 1<<10)
	want := s.source.pushImage(t, "team/app", "latest", made)
	one.Store(s.source.pushImage(t, "team/app", "one", attachedTo(t, made)))
	s.refused(s.order(want))
}

// TestATokenServiceDoesNotSayThatARegistryListsNothing has a token service that knows nobody any more when the list is asked for:
// that is no answer to the question, and the next copy finds what is listed.
func TestATokenServiceDoesNotSayThatARegistryListsNothing(t *testing.T) {
	var lists, isGone atomic.Bool
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch isList := strings.Contains(r.URL.Path, "/referrers/"); {
			case r.URL.Path == "/token" && isGone.Load():
				w.WriteHeader(http.StatusNotFound)
			case r.URL.Path == "/token":
				_, _ = io.WriteString(w, `{"token":"t"}`)
			case r.Header.Get("Authorization") == "", isList && !lists.Load():
				isGone.Store(isList)
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
	s := newStage(t, newPlainGuarded(t, guard, images.WithReferrersSupport(true)), newPlainUpstream(t), withAttachments)
	made := image(t, 1, 1<<10)
	want := s.source.pushImage(t, "team/app", "latest", made)
	s.source.pushImage(t, "team/app", "one", attachedTo(t, made))
	s.refused(s.order(want))
	lists.Store(true)
	isGone.Store(false)
	if done := s.copied(s.order(want)); done.Attachments != 1 {
		t.Errorf("got %+v", done)
	}
}
