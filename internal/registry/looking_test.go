package registry_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	images "github.com/google/go-containerregistry/pkg/registry"
)

// looks are the paths of requests that look for attachments.
var looks = []string{"/referrers/", "/manifests/sha256-", "/tags/list"}

func isLook(path string) bool {
	return slices.ContainsFunc(looks, func(look string) bool { return strings.Contains(path, look) })
}

// looked is how often it was looked for attachments since the last time.
func (u *upstream) looked() (count int) {
	for _, look := range looks {
		count += u.count("", look)
	}
	u.clearLog()
	return count
}

func TestLookingForAttachmentsTakesThreeRequests(t *testing.T) {
	for lists, first := range map[bool]int{true: 3, false: 2} {
		t.Run(fmt.Sprintf("the source lists referrers: %v", lists), func(t *testing.T) {
			s := newStage(t, newPlainGuarded(t, nil, images.WithReferrersSupport(lists)), newPlainUpstream(t), withAttachments)
			want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
			for _, most := range []int{first, 3, 3} {
				s.copied(s.order(want))
				if count := s.source.looked(); count != most {
					t.Errorf("it was looked %d times, want %d", count, most)
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
			var come sync.WaitGroup
			holding := false
			guard := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if holding && isLook(r.URL.Path) {
						come.Done()
						come.Wait()
					}
					next.ServeHTTP(w, r)
				})
			}
			s := newStage(t, newPlainGuarded(t, guard, images.WithReferrersSupport(lists)), newPlainUpstream(t), withAttachments)
			s.copied(s.order(s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))))
			come.Add(3)
			holding = true
			s.copied(s.order(s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))))
		})
	}
}

// listsTags has a source that answers something else when it is asked for its tags.
func listsTags(answer func(http.ResponseWriter)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/tags/list") {
				answer(w)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// page is a list of tags, with others after it or not.
func page(more bool, tags ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		if more {
			w.Header().Set("Link", `</v2/team/app/tags/list?n=1000&last=next>; rel="next"`)
		}
		fmt.Fprintf(w, `{"name":"team/app","tags":["%s"]}`, strings.Join(tags, `","`))
	}
}

// numbered are 1000 tags, from z999 to z000: as many as are asked for, and not in order.
func numbered() []string {
	tags := make([]string, 1000)
	for i := range tags {
		tags[i] = fmt.Sprintf("z%03d", 999-i)
	}
	return tags
}

// TestListsOfTagsThatProveNothing has registries that say too little about their tags: what is attached must be found.
func TestListsOfTagsThatProveNothing(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"no list":            func(w http.ResponseWriter) { refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no") },
		"denied":             func(w http.ResponseWriter) { refuse(w, http.StatusForbidden, "DENIED", "no") },
		"unauthorized":       func(w http.ResponseWriter) { refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "no") },
		"broken":             func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"a web page":         func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html></html>") },
		"another object":     func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"tags":[]}`) },
		"the first of them":  page(true, "a", "b"),
		"not in order":       page(true, "z", "a", "zz"),
		"an empty page":      page(true),
		"cut off, no order":  page(false, numbered()...),
		"larger than we ask": func(w http.ResponseWriter) { page(false, strings.Repeat("a", 5<<20))(w) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, newPlainGuarded(t, listsTags(answer)), newPlainUpstream(t), withAttachments)
			made := image(t, 1, 1<<10)
			want := s.source.pushImage(t, "team/app", "latest", made)
			one := s.source.pushImage(t, "team/app", "one", attachedTo(t, made))
			s.source.put(t, "team/app", tagOf(want), ociIndex, s.source.indexOf(t, "team/app", one))
			s.source.pushImage(t, "team/app", tagOf(want)+".att", image(t, 1, 1<<8))
			if done := s.copied(s.order(want)); done.Attachments != 2 {
				t.Errorf("got %+v", done)
			}
		})
	}
}

// TestListsOfTagsThatProveThatNothingIsThere are what saves the requests for the tags.
func TestListsOfTagsThatProveThatNothingIsThere(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"all of them":               page(false, "z", "a"),
		"in order, and those after": page(true, "sha256-", "sha256-z"),
		"from the first on":         page(true, "1.0", "latest", "stable"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, newPlainGuarded(t, listsTags(answer)), newPlainUpstream(t), withAttachments)
			s.copied(s.order(s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))))
			if count := s.source.looked(); count != 2 {
				t.Errorf("it was looked %d times, want 2", count)
			}
		})
	}
}

// TestWhatIsAttachedIsFoundTheFirstTime asks for the tags alone that the list of tags names.
func TestWhatIsAttachedIsFoundTheFirstTime(t *testing.T) {
	s := newStage(t, newPlainUpstream(t), newPlainUpstream(t), withAttachments)
	want := s.source.pushImage(t, "team/app", "latest", image(t, 1, 1<<10))
	signature := s.source.pushImage(t, "team/app", tagOf(want)+".sig", image(t, 1, 1<<8))
	s.source.clearLog()
	s.copied(s.order(want))
	s.isWhole("cache/shop/app", tagOf(want)+".sig", signature)
	if count := s.source.looked(); count != 3 {
		t.Errorf("it was looked %d times, want for the list of referrers, that of tags, and the signature", count)
	}
}
