package remote

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/images-io/tagger/internal/registry/auth"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/throttle"
	"github.com/images-io/tagger/internal/registry/transport"

	v1 "github.com/images-io/tagger/api/v1"
)

// errNoSession is underneath what kept a question from being asked: the greeting, or the token service.
var errNoSession = errors.New("there is no way in")

func withoutSession(err error) error {
	return regerr.WithCause(err, errNoSession)
}

// patience is how long a copy waits for its turn at a host.
const patience = time.Minute

// Access is a place, and who we are there.
type Access struct {
	Sessions *auth.Sessions
	Quotas   *throttle.Quotas
	Readers  *throttle.Readers
	Timeouts transport.Timeouts
	At       endpoint.Location
	Who      credentials.Credential
}

// Requester sends requests to a repository.
type Requester struct {
	*auth.Session
	readers *throttle.Readers
}

// asking is done once or, where a session is over, once more.
type asking func(context.Context, Requester) error

// Digest resolves.
func (a Access) Digest(ctx context.Context) (Digest string, err error) {
	err = a.use(ctx, func(ctx context.Context, with Requester) error {
		Digest, err = with.Digest(ctx, a.At)
		return err
	})
	return Digest, err
}

// maxLogins is how often a request is repeated with another token: one for a token that has ended, or for a registry that was not
// known to want one, and one more where the response says which other token it takes.
const maxLogins = 2

// use asks with the session that is kept. Where that one is refused, its token may just be over, be it in the middle of what is
// asked: only the refusal of a new session that never worked counts, unless its challenge is another one. The error is an *regerr.Error or
// a *Postponed.
func (a Access) use(ctx context.Context, ask asking) error {
	ctx = throttle.IdentifiedBy(ctx, a.Who)
	for logins := 0; ; logins++ {
		current, isNew, err := a.Sessions.Get(ctx, a.At, a.Who)
		if err != nil {
			return withoutSession(a.Quotas.Explain(err, a.At))
		}
		err = ask(ctx, Requester{current, a.Readers})
		if err == nil {
			return nil
		}
		refusal := a.Quotas.Explain(current.Explained(err), a.At)
		if !a.isWorthALogin(current, err) && !(current.IsCached && regerr.IsUnauthorized(refusal)) {
			return refusal
		}
		challenge, isNews := current.Next(err, a.At)
		if isNew && !current.Worked.Load() && !isNews {
			a.Sessions.Forget(a.At, a.Who, current)
			return refusal
		}
		a.Sessions.End(a.At, a.Who, current, challenge)
		if logins == maxLogins || logins > 0 && !isNews {
			return refusal
		}
	}
}

// isWorthALogin reports whether the request may succeed with another token.
func (a Access) isWorthALogin(with *auth.Session, err error) bool {
	return regerr.IsStatus(err, http.StatusUnauthorized) || with.MayHaveEnded(err, a.Sessions.Clock.Now())
}

// Patiently waits for its turn, too. Nothing was sent of a question that was postponed.
func (a Access) Patiently(ctx context.Context, ask asking) error {
	began := a.Sessions.Clock.Now()
	for waited := time.Duration(0); ; {
		err := a.use(ctx, ask)
		var postponed *throttle.Postponed
		if !errors.As(err, &postponed) {
			return err
		}
		if waited += postponed.After; max(waited, a.Sessions.Clock.Since(began)) > patience {
			return regerr.New(v1.ReasonUnavailable, nil, "%s: %v", a.At.Text, postponed) // and no *Postponed: this is the end
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(postponed.After):
		}
	}
}
