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

// maxSessions bounds the sessions that are kept. A session is a few KiB, most of it the token; a hostile registry's at
// most 16 KiB.
const maxSessions = 1024

// Sessions keeps one session per credential and repository: tokens are issued for one repository, and nobody gets in with
// what somebody else has shown.
type Sessions struct {
	transports *transport.Transports
	Clock      clock.PassiveClock
	kept       *lru.Cache
	opening    syncx.Coalesced[*Session]
	challenges *challengeCache
}

func NewSessions(transports *transport.Transports, challenges *challengeCache, clock clock.PassiveClock, limit time.Duration) *Sessions {
	return &Sessions{
		transports: transports,
		Clock:      clock,
		kept:       lru.New(maxSessions),
		opening:    syncx.Coalesced[*Session]{Limit: limit},
		challenges: challenges,
	}
}

// Get is the session that is kept, or a new one; isNew says which. Callers at the same time share the opening.
func (s *Sessions) Get(ctx context.Context, at endpoint.Location, who credentials.Credential) (found *Session, isNew bool, err error) {
	key := sessionKey(at, who)
	if kept := s.lookup(key); kept.usableAt(s.Clock.Now()) {
		return kept, false, nil
	}
	found, err = s.opening.Do(ctx, key, func(ctx context.Context) (*Session, error) {
		return s.open(ctx, at, who)
	})
	return found, err == nil && !found.IsCached, err
}

// open looks again first: another opening may have ended just before this one began.
func (s *Sessions) open(ctx context.Context, at endpoint.Location, who credentials.Credential) (*Session, error) {
	key := sessionKey(at, who)
	kept := s.lookup(key)
	if kept.usableAt(s.Clock.Now()) {
		return kept, nil
	}
	opened, err := s.opened(ctx, at, who, kept)
	if err != nil {
		s.kept.Remove(key)
		return nil, err
	}
	s.kept.Add(key, opened)
	return opened, nil
}

// opened asks for a new token only, where an old session's is over and all else may well be as it was.
func (s *Sessions) opened(ctx context.Context, at endpoint.Location, who credentials.Credential, old *Session) (*Session, error) {
	wire, policy := oneChallenge(s.transports.To(at)), policy{clock: s.Clock, lists: s.transports.Configuration.Lists}
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

// End ends a session that the registry refuses: its token may be over. The next one follows the challenge.
func (s *Sessions) End(at endpoint.Location, who credentials.Credential, refused *Session, challenge *ggcr.Challenge) {
	if key := sessionKey(at, who); s.lookup(key) == refused {
		s.kept.Add(key, &Session{challenge: challenge})
	}
}

// Forget forgets all about a session that the registry refuses, new as it is: the registry may have changed its ways.
func (s *Sessions) Forget(at endpoint.Location, who credentials.Credential, refused *Session) {
	if key := sessionKey(at, who); s.lookup(key) == refused {
		s.kept.Remove(key)
		s.challenges.forget(at)
	}
}

func (s *Sessions) lookup(key string) *Session {
	kept, _ := s.kept.Get(key)
	found, _ := kept.(*Session)
	return found
}

func sessionKey(at endpoint.Location, who credentials.Credential) string {
	return who.Id + " " + at.PassageKey()
}
