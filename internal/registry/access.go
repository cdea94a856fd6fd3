package registry

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
)

// errNoSession is underneath what kept a question from being asked: the greeting, or the token service.
var errNoSession = errors.New("there is no way in")

func withoutSession(err error) error {
	return regerr.WithCause(err, errNoSession)
}

// patience is how long a copy waits for its turn at a host.
const patience = time.Minute

// access is a place, and who we are there.
type access struct {
	sessions *sessions
	quotas   *quotas
	readers  *readers
	timeouts Timeouts
	at       location
	who      credential
}

// requester sends requests to a repository.
type requester struct {
	*session
	readers *readers
}

// asking is done once or, where a session is over, once more.
type asking func(context.Context, requester) error

// digest resolves.
func (a access) digest(ctx context.Context) (digest string, err error) {
	err = a.use(ctx, func(ctx context.Context, with requester) error {
		digest, err = with.digest(ctx, a.at)
		return err
	})
	return digest, err
}

// maxLogins is how often a request is repeated with another token: one for a token that has ended, or for a registry that was not
// known to want one, and one more where the response says which other token it takes.
const maxLogins = 2

// use asks with the session that is kept. Where that one is refused, its token may just be over, be it in the middle of what is
// asked: only the refusal of a new session that never worked counts, unless its challenge is another one. The error is an *regerr.Error or
// a *Postponed.
func (a access) use(ctx context.Context, ask asking) error {
	ctx = identifiedBy(ctx, a.who)
	for logins := 0; ; logins++ {
		current, isNew, err := a.sessions.get(ctx, a.at, a.who)
		if err != nil {
			return withoutSession(a.quotas.explain(err, a.at))
		}
		err = ask(ctx, requester{current, a.readers})
		if err == nil {
			return nil
		}
		refusal := a.quotas.explain(current.explained(err), a.at)
		if !a.isWorthALogin(current, err) && !(current.isCached && regerr.IsUnauthorized(refusal)) {
			return refusal
		}
		challenge, isNews := current.next(err, a.at)
		if isNew && !current.worked.Load() && !isNews {
			a.sessions.forget(a.at, a.who, current)
			return refusal
		}
		a.sessions.end(a.at, a.who, current, challenge)
		if logins == maxLogins || logins > 0 && !isNews {
			return refusal
		}
	}
}

// isWorthALogin reports whether the request may succeed with another token.
func (a access) isWorthALogin(with *session, err error) bool {
	return regerr.IsStatus(err, http.StatusUnauthorized) || with.mayHaveEnded(err, a.sessions.clock.Now())
}

// patiently waits for its turn, too. Nothing was sent of a question that was postponed.
func (a access) patiently(ctx context.Context, ask asking) error {
	began := a.sessions.clock.Now()
	for waited := time.Duration(0); ; {
		err := a.use(ctx, ask)
		var postponed *Postponed
		if !errors.As(err, &postponed) {
			return err
		}
		if waited += postponed.after; max(waited, a.sessions.clock.Since(began)) > patience {
			return regerr.New(v1.ReasonUnavailable, nil, "%s: %v", a.at.text, postponed) // and no *Postponed: this is the end
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(postponed.after):
		}
	}
}
