package registry

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"k8s.io/utils/clock"
)

// session is a way into one repository with one credential, and is never changed. It stands where go-containerregistry
// has its remote.Puller, and is made from the same parts, because a Puller keeps a token for every repository that it ever
// saw, does not look at expires_in, writes its credential without a lock when a token service sends a refresh token, and
// does not tell a HEAD without a digest, a broken body and a wrong digest apart.
type session struct {
	// client is nil once the session has ended.
	client *http.Client
	scheme string
	// challenge is how the registry wants to be asked.
	challenge *transport.Challenge
	// expires is when the token is over; zero when nobody said so. Then a 401 tells.
	expires time.Time
	// isGuess: the registry was greeted before, and may want something else by now.
	isGuess bool
}

func (s *session) usableAt(now time.Time) bool {
	return s != nil && s.client != nil && (s.expires.IsZero() || now.Before(s.expires))
}

// login gets a token where the registry wants one.
func login(ctx context.Context, wire http.RoundTripper, at location, who credential, challenge *transport.Challenge, clock clock.PassiveClock) (*session, error) {
	asked := clock.Now()
	token, err := tokenFor(ctx, wire, at, who, challenge)
	if err != nil {
		return nil, err
	}
	authenticated, err := transport.FromToken(at.registry, who.authenticator(), hidingChallenges(wire), challenge, token)
	if err != nil {
		return nil, err
	}
	opened := &session{client: &http.Client{Transport: authenticated}, scheme: "https", challenge: challenge}
	if challenge.Insecure {
		opened.scheme = "http"
	}
	if token.ExpiresIn > 0 {
		opened.expires = asked.Add(time.Duration(token.ExpiresIn) * time.Second)
	}
	return opened, nil
}

// tokenFor exchanges the credential for a token (distribution's token authentication). There is nothing to exchange when
// the registry takes the credential itself, or when the credential is a token.
func tokenFor(ctx context.Context, wire http.RoundTripper, at location, who credential, challenge *transport.Challenge) (*transport.Token, error) {
	if !wantsToken(challenge) {
		return &transport.Token{}, nil
	}
	if who.auth.RegistryToken != "" {
		return &transport.Token{Token: who.auth.RegistryToken}, nil
	}
	token, err := transport.Exchange(ctx, at.registry, who.authenticator(), wire, []string{at.pullScope()}, challenge)
	if err != nil {
		return nil, err
	}
	if token.AccessToken != "" {
		token.Token = token.AccessToken
	}
	return token, nil
}

// wantsToken says that the registry takes tokens, and not the credential itself.
func wantsToken(challenge *transport.Challenge) bool {
	return strings.EqualFold(challenge.Scheme, "bearer")
}

// authenticator is the credential for go-containerregistry, which knows its own value only as anonymous.
func (c credential) authenticator() authn.Authenticator {
	if c == anonymous {
		return authn.Anonymous
	}
	return authn.FromConfig(c.auth)
}
