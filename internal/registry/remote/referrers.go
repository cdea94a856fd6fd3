package remote

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

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// maxPages is on how many pages referrers may be listed.
const maxPages = 8

// errListEnds is the end of a list whose next page is not to be had.
var errListEnds = regerr.Unavailable("the list of what is attached to the image ends in the middle")

// nextPage is the link to the next page of a list (RFC 8288, section 3). Names of parameters and relations are the same in upper case.
var nextPage = regexp.MustCompile(`(?i)<([^>]*)>(?:\s*;\s*[^;,="\s]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^";,\s]*))?)*?` +
	`\s*;\s*rel\s*=\s*(?:next|"(?:[^"]*\s)?next(?:\s[^"]*)?")\s*(?:[;,]|$)`)

// referrers returns the manifests that a registry lists as attached to an image. The error is errNoList where it lists none for it.
func (s Source) referrers(ctx context.Context, image digest.Digest) (listed []manifest.Descriptor, err error) {
	err = s.doOptional(ctx, isNoList, func(ctx context.Context, requester Requester) (err error) {
		listed, err = requester.referrers(ctx, s.Endpoint, image)
		return err
	})
	if isNoList(err) {
		err = errors.Join(ErrNoList, err)
	}
	return listed, err
}

// referrers reads the list, page by page.
func (r Requester) referrers(ctx context.Context, ep endpoint.Endpoint, image digest.Digest) ([]manifest.Descriptor, error) {
	var all []manifest.Descriptor
	first := ep.URL(r.Scheme, "referrers/"+image.String())
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
		if len(all) > manifest.MaxReferrers {
			return nil, manifest.ErrTooManyReferrers
		}
		if after == "" {
			return all, nil
		}
		next = after
	}
	return nil, manifest.ErrTooManyReferrers
}

// page returns one page, and the URL of the next one, empty after the last one.
func (r Requester) page(ctx context.Context, address string) (listed []manifest.Descriptor, next string, err error) {
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
	listed, err = manifest.ParseReferrers(content)
	return listed, nextPageURL(response, request.URL), err
}

// staying returns a requester that does not follow a redirect to something else than was requested (RFC 9110, section 15.4.4). Some
// registries redirect to their web site in this way.
func (r Requester) staying() Requester {
	client := *r.Client.HTTP
	client.CheckRedirect = func(request *http.Request, _ []*http.Request) error {
		if request.Response.StatusCode == http.StatusSeeOther {
			return http.ErrUseLastResponse
		}
		return nil
	}
	session := *r.Client
	session.HTTP = &client
	r.Client = &session
	return r
}

// nextPageURL returns the URL of the next page. Its host is the one of the request, or one that this redirected to:
// behind a proxy many registries name a host or a scheme that clients cannot reach.
func nextPageURL(response *http.Response, asked *url.URL) string {
	link := nextPage.FindStringSubmatch(strings.Join(response.Header.Values("Link"), ", "))
	if link == nil {
		return ""
	}
	answered := response.Request.URL
	target, err := answered.Parse(link[1])
	if err != nil {
		return ""
	}
	if target.User = nil; endpoint.HostPort(target) != endpoint.HostPort(asked) && endpoint.HostPort(target) != endpoint.HostPort(answered) {
		target.Scheme, target.Host = asked.Scheme, asked.Host
	}
	return target.String()
}

// UpdateReferrersIndex adds manifests to the index of those that are attached to an image. There are registries that have the image itself under
// its tag.
func (m Mirror) UpdateReferrersIndex(ctx context.Context, image digest.Digest, attached []*manifest.Node) error {
	if len(attached) == 0 {
		return nil
	}
	content, found, err := m.FetchOptional(ctx, m.Endpoint.WithTag(manifest.ReferrersTag(image)), IsGone)
	if err != nil {
		return m.Fault(err)
	}
	if found == image {
		content = nil
	}
	content, changed, err := manifest.WithReferrers(content, attached)
	if err != nil {
		return m.Fault(m.Describe(err))
	}
	if !changed {
		return nil
	}
	_, err = m.PutManifest(ctx, &manifest.Node{Descriptor: manifest.Descriptor{MediaType: types.OCIImageIndex}, Content: content}, manifest.ReferrersTag(image))
	return err
}
