package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/regerr"
)

// maxPages is on how many pages referrers may be listed.
const maxPages = 8

// errListEnds is the end of a list whose next page is not to be had.
var errListEnds = regerr.Unavailable("the list of what is attached to the image ends in the middle")

// nextPage is the link to the next page of a list (RFC 8288, section 3). Names of parameters and relations are the same in upper case.
var nextPage = regexp.MustCompile(`(?i)<([^>]*)>(?:\s*;\s*[^;,="\s]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^";,\s]*))?)*?` +
	`\s*;\s*rel\s*=\s*(?:next|"(?:[^"]*\s)?next(?:\s[^"]*)?")\s*(?:[;,]|$)`)

// referrers are the manifests that a registry lists as attached to an image. The error is errNoList where it lists none for it.
func (s source) referrers(ctx context.Context, image digest.Digest) (listed []descriptor, err error) {
	err = s.askForWhatMayBeAbsent(ctx, isNoList, func(ctx context.Context, with requester) (err error) {
		listed, err = with.referrers(ctx, s.at, image)
		return err
	})
	if isNoList(err) {
		err = errors.Join(errNoList, err)
	}
	return listed, err
}

// referrers reads the list, page by page.
func (r requester) referrers(ctx context.Context, at location, image digest.Digest) ([]descriptor, error) {
	var all []descriptor
	first := at.url(r.scheme, "referrers/"+image.String())
	next := first
	for range maxPages {
		listed, after, err := r.page(ctx, next)
		if next != first && isNoList(err) {
			err = errors.Join(errListEnds, err)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, listed...)
		if len(all) > maxReferrers {
			return nil, errTooManyReferrers
		}
		if after == "" {
			return all, nil
		}
		next = after
	}
	return nil, errTooManyReferrers
}

// page is one page, and where the next one is; empty after the last one.
func (r requester) page(ctx context.Context, address string) (listed []descriptor, next string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Accept", string(types.OCIImageIndex))
	response, err := r.staying().send(request, http.StatusOK)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, "", err
	}
	listed, err = parseReferrers(content)
	return listed, linkedFrom(response, request.URL), err
}

// staying is the session that does not go where something else is to be seen than was asked for (RFC 9110, section 15.4.4). There
// are registries that lead to their web site in this way.
func (r requester) staying() requester {
	client := *r.session.client
	client.CheckRedirect = func(request *http.Request, _ []*http.Request) error {
		if request.Response.StatusCode == http.StatusSeeOther {
			return http.ErrUseLastResponse
		}
		return nil
	}
	session := *r.session
	session.client = &client
	r.session = &session
	return r
}

// linkedFrom is where the next page is. A list goes on where it was asked for, or where that led: behind a proxy many name a host, or a
// scheme, that is not for us.
func linkedFrom(response *http.Response, asked *url.URL) string {
	link := nextPage.FindStringSubmatch(strings.Join(response.Header.Values("Link"), ", "))
	if link == nil {
		return ""
	}
	answered := response.Request.URL
	target, err := answered.Parse(link[1])
	if err != nil {
		return ""
	}
	if target.User = nil; origin(target) != origin(asked) && origin(target) != origin(answered) {
		target.Scheme, target.Host = asked.Scheme, asked.Host
	}
	return target.String()
}

// addReferrers adds manifests to the index of those that are attached to an image. There are registries that have the image itself under
// its tag.
func (m mirror) addReferrers(ctx context.Context, image digest.Digest, attached []*node) error {
	if len(attached) == 0 {
		return nil
	}
	content, found, err := m.look(ctx, m.at.tagged(referrersTag(image)), isGone)
	if err != nil {
		return m.fault(err)
	}
	if found == image {
		content = nil
	}
	content, changed, err := withReferrers(content, attached)
	if err != nil {
		return m.fault(m.quotas.explain(err, m.at))
	}
	if !changed {
		return nil
	}
	_, err = m.put(ctx, &node{descriptor: descriptor{MediaType: types.OCIImageIndex}, content: content}, referrersTag(image))
	return err
}
