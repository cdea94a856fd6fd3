package registry

import (
	"context"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// maxSessions bounds the sessions that are kept. A session is a few KiB, most of it the token; a hostile registry's at
// most 16 KiB.
const maxSessions = 1024

// sessions keeps one session per credential and repository: tokens are issued for one repository, and nobody gets in with
// what somebody else has shown.
type sessions struct {
	transports *transports
	clock      clock.PassiveClock
	kept       *lru.Cache
	opening    coalesced[*session]
	challenges *challengeCache
}

func newSessions(transports *transports, challenges *challengeCache, clock clock.PassiveClock, limit time.Duration) *sessions {
	return &sessions{
		transports: transports,
		clock:      clock,
		kept:       lru.New(maxSessions),
		opening:    coalesced[*session]{limit: limit},
		challenges: challenges,
	}
}

// get is the session that is kept, or a new one; isNew says which. Callers at the same time share the opening.
func (s *sessions) get(ctx context.Context, at location, who credential) (found *session, isNew bool, err error) {
	key := sessionKey(at, who)
	if kept := s.lookup(key); kept.usableAt(s.clock.Now()) {
		return kept, false, nil
	}
	found, err = s.opening.do(ctx, key, func(ctx context.Context) (*session, error) {
		return s.open(ctx, at, who)
	})
	return found, err == nil && !found.isCached, err
}

// open looks again first: another opening may have ended just before this one began.
func (s *sessions) open(ctx context.Context, at location, who credential) (*session, error) {
	key := sessionKey(at, who)
	kept := s.lookup(key)
	if kept.usableAt(s.clock.Now()) {
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
func (s *sessions) opened(ctx context.Context, at location, who credential, old *session) (*session, error) {
	wire, policy := oneChallenge(s.transports.to(at)), policy{clock: s.clock, lists: s.transports.configuration.lists}
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
	opened.isCached = isCached && !wantsToken(challenge)
	return opened, nil
}

// end ends a session that the registry refuses: its token may be over. The next one follows the challenge.
func (s *sessions) end(at location, who credential, refused *session, challenge *ggcr.Challenge) {
	if key := sessionKey(at, who); s.lookup(key) == refused {
		s.kept.Add(key, &session{challenge: challenge})
	}
}

// forget forgets all about a session that the registry refuses, new as it is: the registry may have changed its ways.
func (s *sessions) forget(at location, who credential, refused *session) {
	if key := sessionKey(at, who); s.lookup(key) == refused {
		s.kept.Remove(key)
		s.challenges.forget(at)
	}
}

func (s *sessions) lookup(key string) *session {
	kept, _ := s.kept.Get(key)
	found, _ := kept.(*session)
	return found
}

func sessionKey(at location, who credential) string { return who.id + " " + at.passageKey() }
