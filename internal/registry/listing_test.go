package registry_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	images "github.com/google/go-containerregistry/pkg/registry"

	"github.com/images-io/tagger/internal/registry/registrytest"
)

// forgetting refuses a request for a path that isMeant selects, and its token service responds 404 to the request that follows.
func forgetting(isMeant func(path string) bool, isGone *atomic.Bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch meant := isMeant(r.URL.Path); {
			case r.URL.Path == "/token" && isGone.Load():
				w.WriteHeader(http.StatusNotFound)
			case r.URL.Path == "/token":
				_, _ = io.WriteString(w, `{"token":"t"}`)
			case r.Header.Get("Authorization") == "", meant:
				isGone.Store(meant)
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}

// TestReferrers_TokenRefusedIsNotGone has the token service refuse when the client reads a listed manifest.
func TestReferrers_TokenRefusedIsNotGone(t *testing.T) {
	var one atomic.Value
	one.Store("none")
	isReferrer := func(path string) bool { return strings.HasSuffix(path, "/manifests/"+one.Load().(string)) }
	s := newStage(t, registrytest.NewPlainGuarded(t, forgetting(isReferrer, &atomic.Bool{}), images.WithReferrersSupport(true)), registrytest.NewPlainUpstream(t), withAttachments)
	made := registrytest.Image(t, 1, 1<<10)
	want := s.source.PushImage(t, "team/app", "latest", made)
	one.Store(s.source.PushImage(t, "team/app", "one", attachedTo(t, made)))
	s.refused(s.order(want))
}

// TestReferrers_TokenRefusedIsNotEmpty has the token service refuse when the client reads the list: the list is then unknown, not
// empty, and the next copy finds what is listed.
func TestReferrers_TokenRefusedIsNotEmpty(t *testing.T) {
	var lists, isGone atomic.Bool
	isList := func(path string) bool { return strings.Contains(path, "/referrers/") && !lists.Load() }
	s := newStage(t, registrytest.NewPlainGuarded(t, forgetting(isList, &isGone), images.WithReferrersSupport(true)), registrytest.NewPlainUpstream(t), withAttachments)
	made := registrytest.Image(t, 1, 1<<10)
	want := s.source.PushImage(t, "team/app", "latest", made)
	s.source.PushImage(t, "team/app", "one", attachedTo(t, made))
	s.refused(s.order(want))
	lists.Store(true)
	isGone.Store(false)
	if done := s.copied(s.order(want)); done.Attachments != 1 {
		t.Errorf("got %+v", done)
	}
}
