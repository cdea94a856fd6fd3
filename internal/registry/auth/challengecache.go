package auth

import (
	"context"
	"net/http"
	"strconv"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/syncx"
)

// ChallengeCache pings registries for the challenge that they send (distribution-spec, section "Determining Support"). A
// challenge is that of all repositories and credentials: a ping sends no credential.
type ChallengeCache struct {
	features *endpoint.Features
	pings    syncx.Group[*ggcr.Challenge]
}

// NewChallengeCache returns a cache that keeps challenges among the features. The limit bounds a ping.
func NewChallengeCache(features *endpoint.Features, limit time.Duration) *ChallengeCache {
	return &ChallengeCache{features: features, pings: syncx.Group[*ggcr.Challenge]{Limit: limit}}
}

// get returns the registry's challenge, and whether it comes from the cache.
func (c *ChallengeCache) get(ctx context.Context, next http.RoundTripper, ep endpoint.Endpoint, useCache bool) (challenge *ggcr.Challenge, isCached bool, err error) {
	key := challengeKey(ep)
	if known, isKnown := c.features.Get(key); isKnown && useCache {
		return known.(*ggcr.Challenge), true, nil
	}
	challenge, err = c.pings.Do(ctx, key.Registry, func(ctx context.Context) (*ggcr.Challenge, error) {
		challenge, err := ggcr.Ping(ctx, ep.Registry, next)
		if err == nil {
			delete(challenge.Parameters, "scope") // which is that of any repository, at ghcr.io one that does not exist
		}
		return challenge, err
	})
	if err == nil {
		c.features.Set(key, challenge)
	}
	return challenge, false, err
}

// forget drops the registry's challenge from the cache.
func (c *ChallengeCache) forget(ep endpoint.Endpoint) { c.features.Forget(challengeKey(ep)) }

// challengeKey returns the key of the registry's challenge, which may be another one where plain HTTP is allowed.
func challengeKey(ep endpoint.Endpoint) endpoint.FeatureKey {
	return endpoint.FeatureKey{Kind: endpoint.FeatureChallenge, Registry: ep.Registry.RegistryStr() + " " + strconv.FormatBool(ep.Insecure)}
}
