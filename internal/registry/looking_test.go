package registry_test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	images "github.com/google/go-containerregistry/pkg/registry"
	gcr "github.com/google/go-containerregistry/pkg/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

func isLook(path string) bool {
	return strings.Contains(path, "/referrers/") || strings.Contains(path, "/manifests/sha256-")
}

// looked is how often it was looked for attachments since the last time.
func looked(u *registrytest.Upstream) int {
	defer u.ClearLog()
	return u.Count("", "/referrers/") + u.Count("", "/manifests/sha256-")
}

// answering has a source answer the question for a list of what is attached; of one repository, or of all.
func answering(repository string, answer func(http.ResponseWriter)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, repository+"/referrers/") {
				answer(w)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// TestReferrers_ThreeRequests, and one more where it turns out, once an hour, that a registry keeps no lists.
func TestReferrers_ThreeRequests(t *testing.T) {
	denying := answering("", func(w http.ResponseWriter) { registrytest.Refuse(w, http.StatusForbidden, "DENIED", "no") })
	for _, row := range []struct {
		name   string
		source *registrytest.Upstream
		anew   int // while nothing is known of the registry
	}{
		{"it lists referrers", registrytest.NewPlainGuarded(t, nil, images.WithReferrersSupport(true)), 3},
		{"it lists none", registrytest.NewPlainUpstream(t), 4},
		{"it denies the list", registrytest.NewPlainGuarded(t, denying), 4},
	} {
		t.Run(row.name, func(t *testing.T) {
			clock := newClock()
			s := newStage(t, row.source, registrytest.NewPlainUpstream(t), withAttachments, at(clock))
			want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
			for _, copy := range []struct {
				after time.Duration
				looks int
			}{{0, row.anew}, {0, 3}, {59 * time.Minute, 3}, {2 * time.Minute, row.anew}, {0, 3}} {
				clock.SetTime(clock.Now().Add(copy.after))
				s.copied(s.order(want))
				if count := looked(s.source); count != copy.looks {
					t.Errorf("after another %s it was looked %d times, want %d", copy.after, count, copy.looks)
				}
			}
			off := newStage(t, s.source, s.mirror)
			off.copied(off.order(want))
			if count := looked(s.source); count != 0 {
				t.Errorf("without attachments, %d requests for them", count)
			}
		})
	}
}

// TestLookingForAttachmentsIsDoneAtOnce has a source that answers none of the three requests before all have come.
func TestLookingForAttachmentsIsDoneAtOnce(t *testing.T) {
	for _, lists := range []bool{true, false} {
		t.Run(fmt.Sprintf("the source lists referrers: %v", lists), func(t *testing.T) {
			var waits atomic.Bool
			var looks atomic.Int32
			all := make(chan struct{})
			guard := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if waits.Load() && isLook(r.URL.Path) {
						if looks.Add(1) == 3 {
							close(all)
						}
						select {
						case <-all:
						case <-r.Context().Done():
						}
					}
					next.ServeHTTP(w, r)
				})
			}
			s := newStage(t, registrytest.NewPlainGuarded(t, guard, images.WithReferrersSupport(lists)), registrytest.NewPlainUpstream(t), withAttachments)
			want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
			if !lists {
				s.copied(s.order(want)) // from now on it is known
			}
			waits.Store(true)
			s.copied(s.order(want))
			if count := looks.Load(); count != 3 {
				t.Errorf("it was looked %d times", count)
			}
		})
	}
}

// TestReferrers_SupportIsShared has a source that does not say before all copies have read their image.
func TestReferrers_SupportIsShared(t *testing.T) {
	const copies = 4
	var read atomic.Int32
	all := make(chan struct{})
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if strings.Contains(r.URL.Path, "/manifests/sha256:") && read.Add(1) == copies {
				close(all)
			}
		})
	}
	waits := func(w http.ResponseWriter) {
		<-all
		w.WriteHeader(http.StatusNotFound)
	}
	s := newStage(t, registrytest.NewPlainGuarded(t, func(next http.Handler) http.Handler { return guard(answering("", waits)(next)) }), registrytest.NewPlainUpstream(t), withAttachments)
	var group sync.WaitGroup
	for n := range copies {
		want := s.source.PushImage(t, fmt.Sprint("team/app", n), "latest", registrytest.Image(t, 1, 1<<10))
		group.Go(func() {
			s.copied(s.order(want, func(o *registry.CopyRequest) {
				o.Source, o.Destination.Path = source(t, fmt.Sprint(s.source.Host(), "/team/app", n, ":latest")), fmt.Sprint("cache/shop/app", n)
			}))
		})
	}
	group.Wait()
	if count := s.source.Count("", "/referrers/"); count != 1 {
		t.Errorf("it was asked %d times whether it lists referrers, want once", count)
	}
}

// TestReferrers_DenialOfOneRepository has a registry say of one repository that there is no list.
func TestReferrers_DenialOfOneRepository(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"denied":         func(w http.ResponseWriter) { registrytest.Refuse(w, http.StatusForbidden, "DENIED", "no") },
		"no such name":   func(w http.ResponseWriter) { registrytest.Refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no") },
		"no such image":  func(w http.ResponseWriter) { registrytest.Refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no") },
		"some web page":  func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html></html>")) },
		"a bad question": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainGuarded(t, answering("/team/app", answer), images.WithReferrersSupport(true)), registrytest.NewPlainUpstream(t), withAttachments)
			s.copied(s.order(s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))))
			made := registrytest.Image(t, 1, 1<<10)
			want := s.source.PushImage(t, "team/tools", "latest", made)
			s.source.PushImage(t, "team/tools", "one", attachedTo(t, made))
			done := s.copied(s.order(want, func(o *registry.CopyRequest) {
				o.Source, o.Destination.Path = source(t, s.source.Host()+"/team/tools:latest"), "cache/shop/tools"
			}))
			if done.Attachments != 1 {
				t.Errorf("got %+v", done)
			}
		})
	}
}

// TestOneImageDoesNotDecideForTheNext has a registry say of one image that there is no list, and list what is attached to the next.
func TestOneImageDoesNotDecideForTheNext(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"no such image":  func(w http.ResponseWriter) { registrytest.Refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no") },
		"another code":   func(w http.ResponseWriter) { registrytest.Refuse(w, http.StatusNotFound, "NOT_FOUND", "no") },
		"some web page":  func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html></html>")) },
		"a bad question": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			var isSigned atomic.Bool
			s := newStage(t, registrytest.NewPlainGuarded(t, unless(&isSigned, answer), images.WithReferrersSupport(true)), registrytest.NewPlainUpstream(t), withAttachments)
			s.copied(s.order(s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))))
			isSigned.Store(true)
			s.copiesTheReferrerOf(registrytest.Image(t, 2, 1<<10))
		})
	}
}

// TestARegistryThatListsDoesNotLoseIt has one answer as if it did not know the question, two hours after a list.
func TestARegistryThatListsDoesNotLoseIt(t *testing.T) {
	var lists atomic.Bool
	lists.Store(true)
	lost := unless(&lists, func(w http.ResponseWriter) { http.Error(w, "404 page not found", http.StatusNotFound) })
	clock := newClock()
	s := newStage(t, registrytest.NewPlainGuarded(t, lost, images.WithReferrersSupport(true)), registrytest.NewPlainUpstream(t), withAttachments, at(clock))
	want := s.source.PushImage(t, "team/app", "latest", registrytest.Image(t, 1, 1<<10))
	s.copied(s.order(want))
	clock.SetTime(clock.Now().Add(2 * time.Hour))
	lists.Store(false)
	s.copied(s.order(want))
	lists.Store(true)
	s.copiesTheReferrerOf(registrytest.Image(t, 2, 1<<10))
}

// unless has a source answer the question for a list, unless it may list.
func unless(lists *atomic.Bool, answer func(http.ResponseWriter)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/referrers/") && !lists.Load() {
				answer(w)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// copiesTheReferrerOf copies an image that has one.
func (s *stage) copiesTheReferrerOf(made gcr.Image) {
	s.t.Helper()
	want := s.source.PushImage(s.t, "team/app", "latest", made)
	one := s.source.PushImage(s.t, "team/app", "one", attachedTo(s.t, made))
	if done := s.copied(s.order(want)); done.Attachments != 1 {
		s.t.Errorf("got %+v", done)
	}
	s.isWhole("cache/shop/app", one, one)
}

// TestTheListGoesOn has a source that lists one manifest on each of two pages, and says so in the ways of RFC 8288.
func TestTheListGoesOn(t *testing.T) {
	for name, links := range map[string][]string{
		"as it should":           {`<PAGE>; rel="next"`},
		"elsewhere":              {`<http://proxied.invalidPAGE>;rel=next`},
		"with other parameters":  {`<PAGE>; title="a, b"; rel="last next"`},
		"with quoted pairs":      {`<PAGE>; title="a \"b\""; rel="next"`},
		"with a bare parameter":  {`<PAGE>; hot; rel="next"`},
		"in upper case":          {`<PAGE>; REL="Next"`},
		"after another link":     {`</first>; rel="first", <PAGE>; rel="next"`},
		"in a header of its own": {`</first>; rel="first"`, `<PAGE>; rel="next"`},
	} {
		t.Run(name, func(t *testing.T) {
			s, want := newPagedStage(t, links, func(w http.ResponseWriter, page string) { _, _ = io.WriteString(w, page) })
			if done := s.copied(s.order(want)); done.Attachments != 2 {
				t.Errorf("got %+v", done)
			}
		})
	}
}

// TestAListThatEndsInTheMiddleIsNoList has a source whose second page is not to be had: what is on it must not be missed.
func TestAListThatEndsInTheMiddleIsNoList(t *testing.T) {
	for name, status := range map[string]int{"gone": http.StatusNotFound, "unauthorized": http.StatusUnauthorized, "denied": http.StatusForbidden} {
		t.Run(name, func(t *testing.T) {
			s, want := newPagedStage(t, []string{`<PAGE>; rel="next"`}, func(w http.ResponseWriter, _ string) { w.WriteHeader(status) })
			got := s.refused(s.order(want))
			if got.Reason() != v1.ReasonUnavailable || !strings.Contains(got.Error(), "ends in the middle") {
				t.Errorf("got %s: %v", got.Reason(), got)
			}
		})
	}
}

// TestReferrers_NextPageElsewhere has the first page at another host, whose link leads back.
func TestReferrers_NextPageElsewhere(t *testing.T) {
	var first http.HandlerFunc
	elsewhere := registrytest.NewPlainGuarded(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { first(w, r) })
	})
	upstream := registrytest.NewPlainGuarded(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/referrers/") && !r.URL.Query().Has("page") {
				http.Redirect(w, r, "http://"+elsewhere.Host()+r.URL.Path, http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		})
	}, images.WithReferrersSupport(true))
	first = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "<http://"+upstream.Host()+r.URL.Path+`?page=2>; rel="next"`)
		_, _ = io.WriteString(w, indexOf(ociImage))
	}
	s := newStage(t, upstream, registrytest.NewPlainUpstream(t), withAttachments, insecureHosts(t, upstream, elsewhere))
	s.copiesTheReferrerOf(registrytest.Image(t, 1, 1<<10))
}

// newPagedStage has a source that lists one manifest on each of two pages. The links are those of the first one, where PAGE is the
// second one's path.
func newPagedStage(t *testing.T, links []string, second func(w http.ResponseWriter, page string)) (s *stage, want string) {
	t.Helper()
	var pages []string
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !strings.Contains(r.URL.Path, "/referrers/"):
				next.ServeHTTP(w, r)
			case r.URL.Query().Has("page"):
				second(w, pages[1])
			default:
				for _, link := range links {
					w.Header().Add("Link", strings.ReplaceAll(link, "PAGE", r.URL.Path+"?page=2"))
				}
				_, _ = io.WriteString(w, pages[0])
			}
		})
	}
	s = newStage(t, registrytest.NewPlainGuarded(t, guard), registrytest.NewPlainUpstream(t), withAttachments)
	made := registrytest.Image(t, 1, 1<<10)
	want = s.source.PushImage(t, "team/app", "latest", made)
	for n := range 2 {
		one := s.source.PushImage(t, "team/app", fmt.Sprint("one", n), attachedTo(t, made))
		pages = append(pages, sizedIndexOf(t, s.source, "team/app", one))
	}
	return s, want
}

// TestAListOfReferrersThatIsAWebSite is ghcr.io: it answers 303, and the web site elsewhere has other limits.
func TestAListOfReferrersThatIsAWebSite(t *testing.T) {
	site := registrytest.NewPlainUpstream(t)
	upstream := registrytest.NewPlainGuarded(t, answering("", func(w http.ResponseWriter) {
		w.Header().Set("Location", "http://"+site.Host()+"/packages")
		w.WriteHeader(http.StatusSeeOther)
	}))
	s := newStage(t, upstream, registrytest.NewPlainUpstream(t), withAttachments, insecureHosts(t, upstream, site))
	made := registrytest.Image(t, 1, 1<<10)
	want := s.source.PushImage(t, "team/app", "latest", made)
	one := s.source.PushImage(t, "team/app", "one", attachedTo(t, made))
	s.source.PutManifest(t, "team/app", tagOf(want), ociIndex, sizedIndexOf(t, s.source, "team/app", one))
	for range 2 {
		if done := s.copied(s.order(want)); done.Attachments != 1 {
			t.Errorf("got %+v", done)
		}
	}
	if asked, visits := s.source.Count("", "/referrers/"), site.Count("", ""); asked != 1 || visits != 0 {
		t.Errorf("it was asked %d times, and the web site %d times", asked, visits)
	}
}

// TestWhatIsNoIndexOfReferrersNamesNone has something else under the tag: the image itself, as registry.gitlab.com, or what is no
// index at all.
func TestWhatIsNoIndexOfReferrersNamesNone(t *testing.T) {
	for name, content := range map[string]string{"the image": "", "another image": `{"schemaVersion":2,"mediaType":"` + ociImage + `","layers":[]}`, "a web page": "<html></html>"} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
			made := registrytest.Platforms(t, 2, 1, 1<<10)
			want := s.source.PushIndex(t, "team/app", "latest", made)
			manifest, err := made.RawManifest()
			if err != nil {
				t.Fatal(err)
			}
			s.source.Serve("team/app", tagOf(want), ociIndex, cmp.Or(content, string(manifest)))
			if done := s.copied(s.order(want)); done.Attachments != 0 {
				t.Errorf("got %+v", done)
			}
			s.isWhole("cache/shop/app", "0", want)
		})
	}
}
