package endpoint

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
	// FeatureMounts is whether a registry mounts blobs. The value is a bool.
	FeatureMounts featureKind = "mounts"
	// FeatureReferrers is whether a registry, or a repository as one credential sees it, lists referrers. The value is a bool.
	FeatureReferrers featureKind = "referrers"
	// FeatureChallenge is how a registry wants requests to be authenticated. The value is a *transport.Challenge.
	FeatureChallenge featureKind = "challenge"
)

// FeatureKey names a feature. Repository and credential are empty where it is the registry's.
type FeatureKey struct {
	Kind                             featureKind
	Registry, Repository, Credential string
}

// Features are what registries were found to do. The cache is bounded, and its entries expire, since another registry may be at the
// address by then.
type Features struct{ known *cache.LRUExpireCache }

// NewFeatures returns an empty cache.
func NewFeatures(clock clock.PassiveClock) *Features {
	return &Features{known: cache.NewLRUExpireCacheWithClock(maxFeatures, clock)}
}

// Set keeps a feature for its lifetime.
func (f *Features) Set(key FeatureKey, value any) {
	lifetime := featureLifetime
	if value == false {
		lifetime = absenceLifetime
	}
	f.known.Add(key, value, lifetime)
}

// Get returns a feature, if it is known.
func (f *Features) Get(key FeatureKey) (value any, isKnown bool) { return f.known.Get(key) }

// Forget drops a feature.
func (f *Features) Forget(key FeatureKey) { f.known.Remove(key) }

// Has returns whether a registry has a feature, and whether that is known.
func (f *Features) Has(key FeatureKey) (has, isKnown bool) {
	known, _ := f.known.Get(key)
	has, isKnown = known.(bool)
	return has, isKnown
}
