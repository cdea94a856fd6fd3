package registry_test

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	images "github.com/google/go-containerregistry/pkg/registry"
	gcr "github.com/google/go-containerregistry/pkg/v1"

	"github.com/images-io/tagger/internal/registry"
)

func isLook(path string) bool {
	return strings.Contains(path, "/referrers/") || strings.Contains(path, "/manifests/sha256-")
}

// looked is how often it was looked for attachments since the last time.
func (u *upstream) looked() int {
	defer u.clearLog()
	return u.count("", "/referrers/") + u.count("", "/manifests/sha256-")
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

// TestLookingForAttachmentsTakesThreeRequests, and one more where it turns out, once an hour, that a registry keeps no lists.
func TestLookingForAttachmentsTakesThreeRequests(t *testing.T) {
	denying := answering("", func(w http.ResponseWriter) { refuse(w, http.StatusForbidden, "DENIED", "no") })
	for _, row := range []struct {
		name   string
		source *upstream
		anew   int // while nothing is known of the registry
	}{
		{"it lists referrers", newPlainGuarded(t, nil, images.WithReferrersSupport(true)), 3},
		{"it lists none", newPlainUpstream(t), 4},
		{"it denies the list", newPlainGuarded(t, denying), 4},
	} {
		t.Run(row.name, func(t *testing.T) {
			clock := newClock()
			s := newStage(t, row.source, newPlainUpstream(t), withAttachments, at(clock))
			want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
			for _, copy := range []struct {
				after time.Duration
				looks int
			}{{0, row.anew}, {0, 3}, {59 * time.Minute, 3}, {2 * time.Minute, row.anew}, {0, 3}} {
				clock.SetTime(clock.Now().Add(copy.after))
				s.copied(s.order(want))
				if count := s.source.looked(); count != copy.looks {
					t.Errorf("after another %s it was looked %d times, want %d", copy.after, count, copy.looks)
				}
			}
			off := newStage(t, s.source, s.mirror)
			off.copied(off.order(want))
			if count := s.source.looked(); count != 0 {
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
			s := newStage(t, newPlainGuarded(t, guard, images.WithReferrersSupport(lists)), newPlainUpstream(t), withAttachments)
			want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
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

// TestOneAsksForAllWhetherARegistryListsReferrers has a source that does not say before all copies have read their image.
func TestOneAsksForAllWhetherARegistryListsReferrers(t *testing.T) {
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
	s := newStage(t, newPlainGuarded(t, func(next http.Handler) http.Handler { return guard(answering("", waits)(next)) }), newPlainUpstream(t), withAttachments)
	var group sync.WaitGroup
	for n := range copies {
		want := s.source.pushImage(t, fmt.Sprint("team/app", n), "latest", image(t, 1, 1<<10))
		group.Go(func() {
			s.copied(s.order(want, func(o *registry.Order) {
				o.Source, o.To.Path = source(t, fmt.Sprint(s.source.host(), "/team/app", n, ":latest")), fmt.Sprint("cache/shop/app", n)
			}))
		})
	}
	group.Wait()
	if count := s.source.count("", "/referrers/"); count != 1 {
		t.Errorf("it was asked %d times whether it lists referrers, want once", count)
	}
}

// TestOneRepositoryDoesNotDecideForItsRegistry has a registry say of one repository that there is no list.
func TestOneRepositoryDoesNotDecideForItsRegistry(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"denied":         func(w http.ResponseWriter) { refuse(w, http.StatusForbidden, "DENIED", "no") },
		"no such name":   func(w http.ResponseWriter) { refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no") },
		"no such image":  func(w http.ResponseWriter) { refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no") },
		"some web page":  func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html></html>")) },
		"a bad question": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, newPlainGuarded(t, answering("/team/app", answer), images.WithReferrersSupport(true)), newPlainUpstream(t), withAttachments)
			s.copied(s.order(s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))))
			made := image(t, 1, 1<<10)
			want := s.source.pushImage(t, "team/tools", "latest", made)
			s.source.pushImage(t, "team/tools", "one", attachedTo(t, made))
			done := s.copied(s.order(want, func(o *registry.Order) {
				o.Source, o.To.Path = source(t, s.source.host()+"/team/tools:latest"), "cache/shop/tools"
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
		"no such image":  func(w http.ResponseWriter) { refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no") },
		"some web page":  func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html></html>")) },
		"a bad question": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			var isSigned atomic.Bool
			s := newStage(t, newPlainGuarded(t, unless(&isSigned, answer), images.WithReferrersSupport(true)), newPlainUpstream(t), withAttachments)
			s.copied(s.order(s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))))
			isSigned.Store(true)
			s.copiesTheReferrerOf(image(t, 2, 1<<10))
		})
	}
}

// TestARegistryThatListsDoesNotLoseIt has one answer, once, as if it did not know the question, and before that or not a list.
func TestARegistryThatListsDoesNotLoseIt(t *testing.T) {
	var lists atomic.Bool
	lists.Store(true)
	lost := unless(&lists, func(w http.ResponseWriter) { http.Error(w, "404 page not found", http.StatusNotFound) })
	s := newStage(t, newPlainGuarded(t, lost, images.WithReferrersSupport(true)), newPlainUpstream(t), withAttachments)
	want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
	s.copied(s.order(want))
	lists.Store(false)
	s.copied(s.order(want))
	lists.Store(true)
	s.copiesTheReferrerOf(image(t, 2, 1<<10))
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
	want := s.source.pushImage(s.t, "team/app", "latest", made)
	one := s.source.pushImage(s.t, "team/app", "one", attachedTo(s.t, made))
	if done := s.copied(s.order(want)); done.Attachments != 1 {
		s.t.Errorf("got %+v", done)
	}
	s.isWhole("cache/shop/app", one, one)
}

// TestTheListGoesOn has a source that lists one manifest on each of two pages, and says so in every way of RFC 8288.
func TestTheListGoesOn(t *testing.T) {
	for name, row := range map[string]struct {
		link   func(page string, w http.ResponseWriter)
		isLost bool
	}{
		"as it should": {link: func(page string, w http.ResponseWriter) { w.Header().Set("Link", "<"+page+`>; rel="next"`) }},
		"elsewhere": {link: func(page string, w http.ResponseWriter) {
			w.Header().Set("Link", "<http://proxied.invalid"+page+`>;rel=next`)
		}},
		"with other parameters": {link: func(page string, w http.ResponseWriter) {
			w.Header().Set("Link", "<"+page+`>; title="a, b"; rel="last next"`)
		}},
		"after another link": {link: func(page string, w http.ResponseWriter) {
			w.Header().Add("Link", `</first>; rel="first"`)
			w.Header().Add("Link", "<"+page+`>; rel="next"`)
		}},
		"to what is not there": {isLost: true, link: func(page string, w http.ResponseWriter) { w.Header().Set("Link", "<"+page+`&lost=1>; rel="next"`) }},
	} {
		t.Run(name, func(t *testing.T) {
			pages := []string{}
			guard := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					page, isNext := 0, r.URL.Query().Get("page") == "2"
					switch {
					case !strings.Contains(r.URL.Path, "/referrers/"):
						next.ServeHTTP(w, r)
						return
					case r.URL.Query().Has("lost"):
						refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no")
						return
					case isNext:
						page = 1
					default:
						row.link(r.URL.Path+"?page=2", w)
					}
					w.Header().Set("Content-Type", ociIndex)
					_, _ = w.Write([]byte(pages[page]))
				})
			}
			s := newStage(t, newPlainGuarded(t, guard), newPlainUpstream(t), withAttachments)
			made := image(t, 1, 1<<10)
			want := s.source.pushImage(t, "team/app", "latest", made)
			for layers := range 2 {
				one := s.source.pushImage(t, "team/app", fmt.Sprint("one", layers), attachedTo(t, made))
				pages = append(pages, s.source.indexOf(t, "team/app", one))
			}
			if row.isLost {
				s.refused(s.order(want))
				return
			}
			if done := s.copied(s.order(want)); done.Attachments != 2 {
				t.Errorf("got %+v", done)
			}
		})
	}
}

// TestAListOfReferrersThatIsAWebSite is ghcr.io: it answers 303, and the web site elsewhere has other limits.
func TestAListOfReferrersThatIsAWebSite(t *testing.T) {
	site := newPlainUpstream(t)
	upstream := newPlainGuarded(t, answering("", func(w http.ResponseWriter) {
		w.Header().Set("Location", "http://"+site.host()+"/packages")
		w.WriteHeader(http.StatusSeeOther)
	}))
	s := newStage(t, upstream, newPlainUpstream(t), withAttachments, insecureHosts(t, upstream, site))
	made := image(t, 1, 1<<10)
	want := s.source.pushImage(t, "team/app", "latest", made)
	one := s.source.pushImage(t, "team/app", "one", attachedTo(t, made))
	s.source.put(t, "team/app", tagOf(want), ociIndex, s.source.indexOf(t, "team/app", one))
	for range 2 {
		if done := s.copied(s.order(want)); done.Attachments != 1 {
			t.Errorf("got %+v", done)
		}
	}
	if asked, visits := s.source.count("", "/referrers/"), site.count("", ""); asked != 1 || visits != 0 {
		t.Errorf("it was asked %d times, and the web site %d times", asked, visits)
	}
}

// TestWhatIsNoIndexOfReferrersNamesNone has something else under the tag: the image itself, as registry.gitlab.com, or what is no
// index at all.
func TestWhatIsNoIndexOfReferrersNamesNone(t *testing.T) {
	for name, content := range map[string]string{"the image": "", "another image": `{"schemaVersion":2,"mediaType":"` + ociImage + `","layers":[]}`, "a web page": "<html></html>"} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, newPlainUpstream(t), newPlainUpstream(t), withAttachments)
			made := platforms(t, 2, 1, 1<<10)
			want := s.source.pushIndex(t, "team/app", "latest", made)
			manifest, err := made.RawManifest()
			if err != nil {
				t.Fatal(err)
			}
			s.source.serve("team/app", tagOf(want), ociIndex, cmp.Or(content, string(manifest)))
			if done := s.copied(s.order(want)); done.Attachments != 0 {
				t.Errorf("got %+v", done)
			}
			s.isWhole("cache/shop/app", "0", want)
		})
	}
}
