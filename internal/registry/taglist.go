package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// tagsAtOnce is how many tags a registry is asked for: as many as they give at most.
const tagsAtOnce = 1000

// errNoTags is what is no list of tags.
var errNoTags = errors.New("it is no list of tags")

// tagList is what a registry says that it has: after a certain tag if it heeds that, and from its first one on otherwise.
type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
	// isWhole: there are no more.
	isWhole bool
}

// mayHave is which of some tags may be in the repository: all but those that its list of tags (distribution-spec, "Listing Tags")
// leaves out for certain. They begin with the first one.
func (s source) mayHave(ctx context.Context, tags []string) []string {
	var list tagList
	err := s.askForWhatMayBeAbsent(ctx, isAbsent, func(ctx context.Context, with *session) (err error) {
		list, err = with.tags(ctx, s.at, tags[0][:len(tags[0])-1])
		return err
	})
	if err != nil {
		return tags
	}
	return slices.DeleteFunc(tags, list.lacks)
}

// tags is the list of those that come after the one.
func (s *session) tags(ctx context.Context, at location, after string) (list tagList, err error) {
	query := url.Values{"n": {strconv.Itoa(tagsAtOnce)}, "last": {after}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.url(s.scheme, "tags/list")+"?"+query.Encode(), nil)
	if err != nil {
		return list, err
	}
	response, err := s.send(request, http.StatusOK)
	if err != nil {
		return list, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return list, err
	}
	if list.Name == "" {
		return list, errNoTags
	}
	list.isWhole = response.Header.Get("Link") == "" && len(list.Tags) < tagsAtOnce
	return list, nil
}

// lacks says that a tag is not there: it is not where it would be in the order of the list, or the list is whole.
func (l tagList) lacks(tag string) bool {
	if slices.Contains(l.Tags, tag) {
		return false
	}
	return l.isWhole || len(l.Tags) > 0 && slices.IsSorted(l.Tags) && l.Tags[len(l.Tags)-1] > tag
}
