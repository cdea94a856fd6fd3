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

// errNoLogin is underneath what kept a question from being asked: the greeting, or the token service.
var errNoLogin = errors.New("there is no way in")

func loginFailed(err error) error {
	return regerr.WithCause(err, errNoLogin)
}

// maxThrottleWait is how long a copy waits for its turn at a host.
const maxThrottleWait = time.Minute

// Repository is a place, and who we are there.
type Repository struct {
	Tokens     *auth.TokenCache
	Throttler  *throttle.Throttler
	Readers    *throttle.KeyedSemaphore
	Timeouts   transport.Timeouts
	Endpoint   endpoint.Endpoint
	Credential credentials.Credential
}

// Requester sends requests to a repository.
type Requester struct {
	*auth.Client
	readers *throttle.KeyedSemaphore
}

// operation is done once or, where a session is over, once more.
type operation func(context.Context, Requester) error

// Digest resolves.
func (a Repository) Digest(ctx context.Context) (Digest string, err error) {
	err = a.do(ctx, func(ctx context.Context, requester Requester) error {
		Digest, err = requester.Digest(ctx, a.Endpoint)
		return err
	})
	return Digest, err
}

// maxLogins is how often a request is repeated with another token: one for a token that has ended, or for a registry that was not
// known to want one, and one more where the response says which other token it takes.
const maxLogins = 2

// do asks with the session that is kept. Where that one is refused, its token may just be over, be it in the middle of what is
// asked: only the refusal of a new session that never worked counts, unless its challenge is another one. The error is an *regerr.Error or
// a *Postponed.
func (a Repository) do(ctx context.Context, operate operation) error {
	ctx = throttle.WithCredential(ctx, a.Credential)
	for logins := 0; ; logins++ {
		current, isNew, err := a.Tokens.Get(ctx, a.Endpoint, a.Credential)
		if err != nil {
			return loginFailed(a.Throttler.Describe(err, a.Endpoint))
		}
		err = operate(ctx, Requester{current, a.Readers})
		if err == nil {
			return nil
		}
		refusal := a.Throttler.Describe(current.WithHint(err), a.Endpoint)
		if !a.needsLogin(current, err) && !(current.IsCached && regerr.IsUnauthorized(refusal)) {
			return refusal
		}
		challenge, isNews := current.NextChallenge(err, a.Endpoint)
		if isNew && !current.Worked.Load() && !isNews {
			a.Tokens.Forget(a.Endpoint, a.Credential, current)
			return refusal
		}
		a.Tokens.Expire(a.Endpoint, a.Credential, current, challenge)
		if logins == maxLogins || logins > 0 && !isNews {
			return refusal
		}
	}
}

// needsLogin reports whether the request may succeed with another token.
func (a Repository) needsLogin(client *auth.Client, err error) bool {
	return regerr.IsStatus(err, http.StatusUnauthorized) || client.MayHaveExpired(err, a.Tokens.Clock.Now())
}

// DoWaiting waits for its turn, too. Nothing was sent of a question that was postponed.
func (a Repository) DoWaiting(ctx context.Context, operate operation) error {
	began := a.Tokens.Clock.Now()
	for waited := time.Duration(0); ; {
		err := a.do(ctx, operate)
		var postponed *throttle.Postponed
		if !errors.As(err, &postponed) {
			return err
		}
		if waited += postponed.After; max(waited, a.Tokens.Clock.Since(began)) > maxThrottleWait {
			return regerr.New(v1.ReasonUnavailable, nil, "%s: %v", a.Endpoint.Text, postponed) // and no *Postponed: this is the end
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(postponed.After):
		}
	}
}
