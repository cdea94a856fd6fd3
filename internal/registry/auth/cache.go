package auth

import (
	"context"
	"time"

	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/transport"
	"github.com/images-io/tagger/internal/syncx"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// maxClients bounds the sessions that are kept. A session is a few KiB, most of it the token; a hostile registry's at
// most 16 KiB.
const maxClients = 1024

// TokenCache keeps one session per credential and repository: tokens are issued for one repository, and nobody gets in with
// what somebody else has shown.
type TokenCache struct {
	transports *transport.Factory
	Clock      clock.PassiveClock
	kept       *lru.Cache
	inflight   syncx.Group[*Client]
	challenges *ChallengeCache
}

func NewTokenCache(transports *transport.Factory, challenges *ChallengeCache, clock clock.PassiveClock, limit time.Duration) *TokenCache {
	return &TokenCache{
		transports: transports,
		Clock:      clock,
		kept:       lru.New(maxClients),
		inflight:   syncx.Group[*Client]{Limit: limit},
		challenges: challenges,
	}
}

// Get is the session that is kept, or a new one; isNew says which. Callers at the same time share the opening.
func (s *TokenCache) Get(ctx context.Context, at endpoint.Endpoint, who credentials.Credential) (found *Client, isNew bool, err error) {
	key := clientKey(at, who)
	if kept := s.lookup(key); kept.usableAt(s.Clock.Now()) {
		return kept, false, nil
	}
	found, err = s.inflight.Do(ctx, key, func(ctx context.Context) (*Client, error) {
		return s.open(ctx, at, who)
	})
	return found, err == nil && !found.IsCached, err
}

// open looks again first: another opening may have ended just before this one began.
func (s *TokenCache) open(ctx context.Context, at endpoint.Endpoint, who credentials.Credential) (*Client, error) {
	key := clientKey(at, who)
	kept := s.lookup(key)
	if kept.usableAt(s.Clock.Now()) {
		return kept, nil
	}
	opened, err := s.login(ctx, at, who, kept)
	if err != nil {
		s.kept.Remove(key)
		return nil, err
	}
	s.kept.Add(key, opened)
	return opened, nil
}

// login asks for a new token only, where an old session's is over and all else may well be as it was.
func (s *TokenCache) login(ctx context.Context, at endpoint.Endpoint, who credentials.Credential, old *Client) (*Client, error) {
	wire, policy := oneChallenge(s.transports.For(at)), policy{clock: s.Clock, lists: s.transports.Configuration.Lists}
	if old != nil && wantsToken(old.challenge) {
		return login(ctx, wire, at, who, old.challenge, policy)
	}
	challenge, isCached, err := s.challenges.get(ctx, wire, at, old == nil)
	if err != nil {
		return nil, err
	}
	opened, err := login(ctx, wire, at, who, challenge, policy)
	if err != nil {
		s.challenges.forget(at) // the token service may be another by now
		return nil, err
	}
	opened.IsCached = isCached && !wantsToken(challenge)
	return opened, nil
}

// Expire ends a session that the registry refuses: its token may be over. The next one follows the challenge.
func (s *TokenCache) Expire(at endpoint.Endpoint, who credentials.Credential, refused *Client, challenge *ggcr.Challenge) {
	if key := clientKey(at, who); s.lookup(key) == refused {
		s.kept.Add(key, &Client{challenge: challenge})
	}
}

// Forget forgets all about a session that the registry refuses, new as it is: the registry may have changed its ways.
func (s *TokenCache) Forget(at endpoint.Endpoint, who credentials.Credential, refused *Client) {
	if key := clientKey(at, who); s.lookup(key) == refused {
		s.kept.Remove(key)
		s.challenges.forget(at)
	}
}

func (s *TokenCache) lookup(key string) *Client {
	kept, _ := s.kept.Get(key)
	found, _ := kept.(*Client)
	return found
}

func clientKey(at endpoint.Endpoint, who credentials.Credential) string {
	return who.ID + " " + at.ScopeKey()
}
