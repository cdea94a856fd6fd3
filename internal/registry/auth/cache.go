package auth

import (
	"context"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/transport"
	"github.com/images-io/tagger/internal/syncx"
)

// maxClients bounds the clients that are kept. A client is a few KiB, most of it the token; a hostile registry's at most 16 KiB.
const maxClients = 1024

// TokenCache keeps one client per credential and repository: tokens are issued for one repository, and a token is never used for another
// credential.
type TokenCache struct {
	transports *transport.Factory
	Clock      clock.PassiveClock
	kept       *lru.Cache
	inflight   syncx.Group[*Client]
	challenges *ChallengeCache
}

// NewTokenCache returns an empty cache.
func NewTokenCache(transports *transport.Factory, challenges *ChallengeCache, clock clock.PassiveClock, limit time.Duration) *TokenCache {
	return &TokenCache{
		transports: transports,
		Clock:      clock,
		kept:       lru.New(maxClients),
		inflight:   syncx.Group[*Client]{Limit: limit},
		challenges: challenges,
	}
}

// Get returns the client that is kept, or a new one; isNew says which. Callers at the same time share the login.
func (s *TokenCache) Get(ctx context.Context, ep endpoint.Endpoint, cred credentials.Credential) (found *Client, isNew bool, err error) {
	key := clientKey(ep, cred)
	if kept := s.lookup(key); kept.usableAt(s.Clock.Now()) {
		return kept, false, nil
	}
	found, err = s.inflight.Do(ctx, key, func(ctx context.Context) (*Client, error) {
		return s.open(ctx, ep, cred)
	})
	return found, err == nil && !found.IsCached, err
}

// open looks again first: another opening may have ended just before this one began.
func (s *TokenCache) open(ctx context.Context, ep endpoint.Endpoint, cred credentials.Credential) (*Client, error) {
	key := clientKey(ep, cred)
	kept := s.lookup(key)
	if kept.usableAt(s.Clock.Now()) {
		return kept, nil
	}
	opened, err := s.login(ctx, ep, cred, kept)
	if err != nil {
		s.kept.Remove(key)
		return nil, err
	}
	s.kept.Add(key, opened)
	return opened, nil
}

// login gets a new token only, where an old one has expired and the challenge is known.
func (s *TokenCache) login(ctx context.Context, ep endpoint.Endpoint, cred credentials.Credential, old *Client) (*Client, error) {
	next, policy := oneChallenge(s.transports.For(ep)), policy{clock: s.Clock, lists: s.transports.Configuration.Lists}
	if old != nil && wantsToken(old.challenge) {
		return login(ctx, next, ep, cred, old.challenge, policy)
	}
	challenge, isCached, err := s.challenges.get(ctx, next, ep, old == nil)
	if err != nil {
		return nil, err
	}
	opened, err := login(ctx, next, ep, cred, challenge, policy)
	if err != nil {
		s.challenges.forget(ep) // the token service may be another by now
		return nil, err
	}
	opened.IsCached = isCached && !wantsToken(challenge)
	return opened, nil
}

// Expire drops the token of a client that the registry refuses. The next login follows the challenge.
func (s *TokenCache) Expire(ep endpoint.Endpoint, cred credentials.Credential, refused *Client, challenge *ggcr.Challenge) {
	if key := clientKey(ep, cred); s.lookup(key) == refused {
		s.kept.Add(key, &Client{challenge: challenge})
	}
}

// Forget drops a new client that the registry refuses, and its challenge: the registry may want another one by now.
func (s *TokenCache) Forget(ep endpoint.Endpoint, cred credentials.Credential, refused *Client) {
	if key := clientKey(ep, cred); s.lookup(key) == refused {
		s.kept.Remove(key)
		s.challenges.forget(ep)
	}
}

func (s *TokenCache) lookup(key string) *Client {
	kept, _ := s.kept.Get(key)
	found, _ := kept.(*Client)
	return found
}

func clientKey(ep endpoint.Endpoint, cred credentials.Credential) string {
	return cred.ID + " " + ep.ScopeKey()
}
