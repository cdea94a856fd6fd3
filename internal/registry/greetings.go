package registry

import (
	"context"
	"net/http"
	"strconv"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// challengeCache pings registries for the challenge that they want to be answered (distribution-spec, section "Determining Support"). A
// challenge is that of all repositories and credentials: a ping sends no credential.
type challengeCache struct {
	features *features
	pings    coalesced[*ggcr.Challenge]
}

func newChallengeCache(features *features, limit time.Duration) *challengeCache {
	return &challengeCache{features: features, pings: coalesced[*ggcr.Challenge]{limit: limit}}
}

// get returns the registry's challenge, and whether it comes from the cache.
func (c *challengeCache) get(ctx context.Context, wire http.RoundTripper, at location, useCache bool) (challenge *ggcr.Challenge, isCached bool, err error) {
	key := challengeKey(at)
	if known, isKnown := c.features.get(key); isKnown && useCache {
		return known.(*ggcr.Challenge), true, nil
	}
	challenge, err = c.pings.do(ctx, key.registry, func(ctx context.Context) (*ggcr.Challenge, error) {
		challenge, err := ggcr.Ping(ctx, at.registry, wire)
		if err == nil {
			delete(challenge.Parameters, "scope") // which is that of any repository, at ghcr.io one that does not exist
		}
		return challenge, err
	})
	if err == nil {
		c.features.set(key, challenge)
	}
	return challenge, false, err
}

// forget drops the registry's challenge from the cache.
func (c *challengeCache) forget(at location) { c.features.forget(challengeKey(at)) }

// challengeKey is the key of the registry's challenge, which may be another one where plain HTTP is allowed.
func challengeKey(at location) featureKey {
	return featureKey{kind: featureChallenge, registry: at.registry.RegistryStr() + " " + strconv.FormatBool(at.insecure)}
}
