package remote

import (
	"context"
	"errors"
	"net/http"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/syncx"
)

// unsupportedStatuses are the responses of a registry that does not support the request.
var unsupportedStatuses = []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusSeeOther}

// methodUnknown is the code of registries made with go-containerregistry. The distribution-spec does not have it.
const methodUnknown ggcr.ErrorCode = "METHOD_UNKNOWN"

// ErrNoList is what comes of asking a registry that does not list what is attached to an image: to any, or to this one.
var ErrNoList = errors.New("the registry does not list what is attached to the image")

// ReferrersSupport asks registries for what they list as attached to an image (distribution-spec, "Listing Referrers"), and remembers which
// of them keep no such lists.
type ReferrersSupport struct {
	features *endpoint.Features
	inflight syncx.Group[firstList]
}

// firstList is what came of asking for the list of an image where it was not known whether there are any.
type firstList struct {
	image  string
	listed []manifest.Descriptor
	err    error
}

// NewReferrersSupport returns what finds out whether registries list referrers. The limit bounds one request.
func NewReferrersSupport(features *endpoint.Features, limit time.Duration) *ReferrersSupport {
	return &ReferrersSupport{features: features, inflight: syncx.Group[firstList]{Limit: limit}}
}

// List returns the list of an image; the error is errNoList where there is none. Where it is not known whether a registry keeps lists, one
// of all who copy from there asks first, for its own image, and the others wait.
func (l *ReferrersSupport) List(ctx context.Context, source Source, image digest.Digest) ([]manifest.Descriptor, error) {
	if _, isKnown := l.recall(source); !isKnown {
		own := source.Endpoint.ScopeKey() + " " + image.String()
		first, err := l.inflight.Do(ctx, source.Credential.ID+" "+source.Endpoint.Address(), func(ctx context.Context) (firstList, error) {
			listed, err := l.list(ctx, source, image)
			return firstList{own, listed, err}, nil
		})
		if err == nil && first.image == own && !regerr.IsTimeout(first.err) { // the time for all may be shorter than ours
			return first.listed, first.err
		}
	}
	if kept, isKnown := l.recall(source); isKnown && !kept {
		return nil, ErrNoList
	}
	return l.list(ctx, source, image)
}

func (l *ReferrersSupport) list(ctx context.Context, source Source, image digest.Digest) ([]manifest.Descriptor, error) {
	listed, err := source.referrers(ctx, image)
	l.learn(source, err)
	return listed, err
}

// recall returns what is known: of this repository as this credential sees it, or else of the whole registry.
func (l *ReferrersSupport) recall(source Source) (has, isKnown bool) {
	if has, isKnown = l.features.Has(ofRepository(source)); isKnown {
		return has, true
	}
	return l.features.Has(ofRegistry(source))
}

// learn records the result of a request for a list. A response about one image tells nothing of the next one, and an error on the
// way tells nothing at all. A registry that keeps lists does not lose them.
func (l *ReferrersSupport) learn(source Source, err error) {
	has, _ := l.features.Has(ofRegistry(source))
	switch {
	case err == nil:
		l.features.Set(ofRegistry(source), true)
	case !errors.Is(err, ErrNoList):
	case isForRepository(err):
		l.features.Set(ofRepository(source), false)
	case isForAllImages(err) && !has:
		l.features.Set(ofRegistry(source), false)
	}
}

func ofRegistry(source Source) endpoint.FeatureKey {
	return endpoint.FeatureKey{Kind: endpoint.FeatureReferrers, Registry: source.Endpoint.Address()}
}

func ofRepository(source Source) endpoint.FeatureKey {
	return endpoint.FeatureKey{Kind: endpoint.FeatureReferrers, Registry: source.Endpoint.Address(), Repository: source.Endpoint.ScopeKey(), Credential: source.Credential.ID}
}

// isNoList reports whether a response means that there is no list.
func isNoList(err error) bool {
	return !errors.Is(err, errListEnds) &&
		(IsAbsent(err) || errors.Is(err, manifest.ErrNoManifest) || regerr.IsStatus(err, http.StatusSeeOther) && !errors.Is(err, errNoLogin))
}

// isForRepository says whether a registry that has no list does not let us see one of the repository, whatever image it is.
func isForRepository(err error) bool {
	return regerr.IsStatus(err, http.StatusUnauthorized, http.StatusForbidden) || regerr.HasCode(err, ggcr.NameUnknownErrorCode)
}

// isForAllImages reports whether a registry does not support the request at all, for any image: it says so, or has no code for it.
func isForAllImages(err error) bool {
	var response *ggcr.Error
	return regerr.IsStatus(err, unsupportedStatuses...) && errors.As(err, &response) &&
		(len(response.Errors) == 0 || regerr.HasCode(err, ggcr.UnsupportedErrorCode, methodUnknown))
}
