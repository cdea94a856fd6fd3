package registry

import (
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

const (
	// maxFeatures bounds the features that are kept, of all registries together.
	maxFeatures = 8192
	// featureLifetime is how long a feature is kept. A registry gains features with a new version: that one is absent is kept for a shorter
	// time.
	featureLifetime = 24 * time.Hour
	absenceLifetime = time.Hour
)

// featureKind is something that registries do in different ways.
type featureKind string

const (
	// featureMounts is whether a registry mounts blobs. The value is a bool.
	featureMounts featureKind = "mounts"
	// featureReferrers is whether a registry, or a repository as one credential sees it, lists referrers. The value is a bool.
	featureReferrers featureKind = "referrers"
	// featureChallenge is how a registry wants requests to be authenticated. The value is a *transport.Challenge.
	featureChallenge featureKind = "challenge"
)

// featureKey names a feature. Repository and credential are empty where it is the registry's.
type featureKey struct {
	kind                             featureKind
	registry, repository, credential string
}

// features are what registries were found to do. The cache is bounded, and its entries expire, since another registry may be at the
// address by then.
type features struct{ known *cache.LRUExpireCache }

func newFeatures(clock clock.PassiveClock) *features {
	return &features{known: cache.NewLRUExpireCacheWithClock(maxFeatures, clock)}
}

// set keeps a feature for its lifetime.
func (f *features) set(key featureKey, value any) {
	lifetime := featureLifetime
	if value == false {
		lifetime = absenceLifetime
	}
	f.known.Add(key, value, lifetime)
}

// get returns a feature, if it is known.
func (f *features) get(key featureKey) (value any, isKnown bool) { return f.known.Get(key) }

// forget drops a feature.
func (f *features) forget(key featureKey) { f.known.Remove(key) }

// has returns whether a registry has a feature, and whether that is known.
func (f *features) has(key featureKey) (has, isKnown bool) {
	known, _ := f.known.Get(key)
	has, isKnown = known.(bool)
	return has, isKnown
}
