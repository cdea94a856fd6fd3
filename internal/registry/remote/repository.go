package remote

import (
	"context"
	"errors"
	"net/http"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/auth"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/throttle"
	"github.com/images-io/tagger/internal/registry/transport"
)

// errNoLogin is a cause of errors of the ping or the token service: the request itself was not sent.
var errNoLogin = errors.New("there is no token")

func loginFailed(err error) error {
	return regerr.WithCause(err, errNoLogin)
}

// copyWait is how long a request of a copy waits, in all, while the host is throttled. A resolve waits for Timeouts.Throttle, and is then
// deferred.
const copyWait = time.Minute

// Repository is one repository at an endpoint, as one credential sees it.
type Repository struct {
	Tokens     *auth.TokenCache
	Throttler  *throttle.Throttler
	Readers    *throttle.KeyedSemaphore
	Timeouts   transport.Timeouts
	Endpoint   endpoint.Endpoint
	Credential credentials.Credential
	// Namespace is that of the Tag that requests are sent for.
	Namespace string
}

// Describe gives an error its reason and text.
func (a Repository) Describe(err error) error {
	return a.Throttler.Describe(err, a.Endpoint, a.Namespace)
}

// Requester sends requests to a repository.
type Requester struct {
	*auth.Client
	readers *throttle.KeyedSemaphore
}

// operation is called once, or once more where the token has expired.
type operation func(context.Context, Requester) error

// Digest resolves the endpoint's tag. The error is a *throttle.ThrottledError where the host is throttled for long.
func (a Repository) Digest(ctx context.Context) (digest string, err error) {
	isFinal := func(throttled *throttle.ThrottledError) bool { return throttled.IsFailing }
	err = a.wait(ctx, a.Timeouts.Throttle, isFinal, func(ctx context.Context, requester Requester) error {
		digest, err = requester.Digest(ctx, a.Endpoint)
		return err
	})
	return digest, err
}

// maxLogins is how often a request is repeated with another token: one for a token that has ended, or for a registry that was not
// known to want one, and one more where the response says which other token it takes.
const maxLogins = 2

// do calls an operation with the client that is kept. Where the registry refuses that client, its token may have expired, even in the middle of
// the operation: only the refusal of a new client that never worked counts, unless its challenge is another one. The error is an
// *regerr.Error or a *throttle.ThrottledError.
func (a Repository) do(ctx context.Context, operate operation) error {
	ctx = throttle.WithRequest(ctx, throttle.RequestContext{Namespace: a.Namespace, CredentialID: a.Credential.ID})
	for logins := 0; ; logins++ {
		current, isNew, err := a.Tokens.Get(ctx, a.Endpoint, a.Credential)
		if err != nil {
			return loginFailed(a.Describe(err))
		}
		err = operate(ctx, Requester{current, a.Readers})
		if err == nil {
			return nil
		}
		refusal := a.Describe(current.WithHint(err))
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

// DoWaiting repeats an operation while the host is throttled, for at most copyWait. Nothing was sent then. The error is an *regerr.Error.
func (a Repository) DoWaiting(ctx context.Context, operate operation) error {
	err := a.wait(ctx, copyWait, func(*throttle.ThrottledError) bool { return false }, operate)
	if throttle.IsThrottled(err) {
		return regerr.New(v1.ReasonUnavailable, nil, "%s: %v", a.Endpoint.Text, err)
	}
	return err
}

// wait repeats an operation while the host is throttled, until the limit or an error that is final.
func (a Repository) wait(ctx context.Context, limit time.Duration, isFinal func(*throttle.ThrottledError) bool, operate operation) error {
	began := a.Tokens.Clock.Now()
	for waited := time.Duration(0); ; {
		err := a.do(ctx, operate)
		var throttled *throttle.ThrottledError
		if !errors.As(err, &throttled) {
			return err
		}
		if waited += throttled.RetryAfter; max(waited, a.Tokens.Clock.Since(began)) > limit || isFinal(throttled) {
			return throttled
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(throttled.RetryAfter):
		}
	}
}
