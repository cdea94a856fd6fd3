package registry

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

const (
	// maxListing bounds of how many registries and repositories it is known whether they list what is attached to an image.
	maxListing = 4096
	// listingHolds is for how long that is taken for granted: registries learn it with a new version.
	listingHolds = time.Hour
)

// unknownQuestion are the answers to a question that a registry does not know.
var unknownQuestion = []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusSeeOther}

// listing remembers which registries list what is attached to an image (distribution-spec, "Listing Referrers").
type listing struct {
	known  *cache.LRUExpireCache
	asking coalesced[bool]
}

func newListing(clock clock.PassiveClock, limit time.Duration) *listing {
	return &listing{known: cache.NewLRUExpireCacheWithClock(maxListing, clock), asking: coalesced[bool]{limit: limit}}
}

// keptBy says whether the registry keeps such lists. Where that is not known, one of all who copy from there asks, with the image
// that it is about to copy. When that tells nothing, everybody is to ask for himself.
func (l *listing) keptBy(ctx context.Context, from source, image digest.Digest) bool {
	if kept, isKnown := l.recall(from); isKnown {
		return kept
	}
	_, _ = l.asking.do(ctx, from.who.id+" "+from.at.address(), func(ctx context.Context) (bool, error) {
		_, err := from.referrers(ctx, image)
		l.learn(from, err)
		return true, nil
	})
	kept, isKnown := l.recall(from)
	return kept || !isKnown
}

// recall is what is known: of this repository as this identity sees it, or else of the whole registry.
func (l *listing) recall(from source) (kept, isKnown bool) {
	for _, key := range []string{from.who.id + " " + from.at.passageKey(), from.at.address()} {
		if known, isKnown := l.known.Get(key); isKnown {
			return known.(bool), true
		}
	}
	return false, false
}

// learn takes in what came of asking for a list. What went wrong on the way to an answer tells nothing.
func (l *listing) learn(from source, err error) {
	switch {
	case err == nil:
		l.known.Add(from.at.address(), true, listingHolds)
	case !errors.Is(err, errNoList):
	case isForAllImages(err):
		l.known.Add(from.at.address(), false, listingHolds)
	default:
		l.known.Add(from.who.id+" "+from.at.passageKey(), false, listingHolds)
	}
}

// isNoList says whether an answer means that a list is not to be had.
func isNoList(err error) bool {
	return isAbsent(err) || errors.Is(err, errNoManifest) || isStatus(err, http.StatusSeeOther) && !errors.Is(err, errNoSession)
}

// isForAllImages says whether a registry that has no list does not know the question at all, for whatever image.
func isForAllImages(err error) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) || !slices.Contains(unknownQuestion, answer.StatusCode) {
		return false
	}
	return !slices.ContainsFunc(answer.Errors, func(one transport.Diagnostic) bool {
		return one.Code == transport.NameUnknownErrorCode || one.Code == transport.ManifestUnknownErrorCode
	})
}
