package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"k8s.io/utils/clock"

	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// maxToken is how large a token may be, in bytes: it is a header, of which servers take 8 or 16 KiB.
const maxToken = 16 << 10

const (
	// defaultLifetime is how long a token lasts, in seconds, when its service does not say (distribution's token authentication,
	// "expires_in").
	defaultLifetime = 60
	// minTokenAge is up to which age a token is taken for valid, whatever the registry responds but 401.
	minTokenAge = 30 * time.Second
)

// Client is a way into one repository with one credential, and is never another one. It stands where go-containerregistry
// has its remote.Puller, and is made from the same parts, because a Puller keeps a token for every repository that it ever
// saw, does not look at expires_in, writes its credential without a lock when a token service sends a refresh token, and
// does not tell a HEAD without a digest, a broken body and a wrong digest apart.
type Client struct {
	// HTTP is nil once the token has expired.
	HTTP   *http.Client
	Scheme string
	// challenge is how the registry wants to be asked.
	challenge *ggcr.Challenge
	// withheldFrom is the token service that was not shown the credential, as it is not the registry's own; mostly empty.
	withheldFrom string
	// issued is when the token was requested, and expires when it ends; zero where there is none.
	issued, expires time.Time
	// IsCached: the challenge comes from the cache, and the registry may want another one by now.
	IsCached bool
	// Worked: the registry took it once, so a refusal says that its token is over.
	Worked *atomic.Bool
}

// policy is what logging in depends on, beside the registry.
type policy struct {
	clock clock.PassiveClock
	// lists says what the administrator names in registries.conf.
	lists func(address string) bool
}

func (s *Client) usableAt(now time.Time) bool {
	return s != nil && s.HTTP != nil && (s.expires.IsZero() || now.Before(s.expires))
}

// login gets a token where the registry wants one.
func login(ctx context.Context, next http.RoundTripper, ep endpoint.Endpoint, cred credentials.Credential, challenge *ggcr.Challenge, policy policy) (*Client, error) {
	asked := policy.clock.Now()
	opened := &Client{Scheme: "https", challenge: challenge, Worked: new(atomic.Bool)}
	if challenge.Insecure {
		opened.Scheme = "http"
	}
	token, err := opened.tokenFor(ctx, next, ep, cred, policy)
	if err != nil {
		return nil, err
	}
	authenticated, err := ggcr.FromToken(ep.Registry, cred.Authenticator(), stripChallenges(next), opened.ownChallenge(ep), token)
	if err != nil {
		return nil, err
	}
	opened.HTTP = &http.Client{Transport: authenticated}
	if token.ExpiresIn > 0 {
		opened.issued, opened.expires = asked, asked.Add(time.Duration(token.ExpiresIn)*time.Second)
	}
	return opened, nil
}

// MayHaveExpired reports whether a response may mean that the token is no longer valid, although the registry does not say so:
// public.ecr.aws responds with 400 and no body. A request whose body was streamed is not repeated for that.
func (s *Client) MayHaveExpired(err error, now time.Time) bool {
	var response *ggcr.Error
	if s.issued.IsZero() || now.Sub(s.issued) <= minTokenAge || !regerr.IsStatus(err, http.StatusBadRequest, http.StatusForbidden) || !errors.As(err, &response) {
		return false
	}
	return canRepeat(response.Request)
}

// canRepeat reports whether a request that was sent can be sent once more: a body that was streamed cannot.
func canRepeat(request *http.Request) bool {
	return request.Body == nil || request.Body == http.NoBody || request.GetBody != nil
}

// tokenFor exchanges the credential for a token (distribution's token authentication). There is nothing to exchange when
// the registry takes the credential itself, or when the credential is a token.
func (s *Client) tokenFor(ctx context.Context, next http.RoundTripper, ep endpoint.Endpoint, cred credentials.Credential, policy policy) (*ggcr.Token, error) {
	if !wantsToken(s.challenge) {
		return &ggcr.Token{}, nil
	}
	if cred.Auth.RegistryToken != "" {
		return &ggcr.Token{Token: cred.Auth.RegistryToken}, nil
	}
	realm, err := realmOf(s.challenge)
	if err != nil {
		return nil, err
	}
	if cred != credentials.Anonymous && !realm.serves(ep.Registry.RegistryStr(), policy.lists) {
		cred, s.withheldFrom = credentials.Anonymous, realm.address.Host
	}
	service, err := realm.registry()
	if err != nil {
		return nil, err
	}
	exchange := func() (*ggcr.Token, error) {
		return ggcr.Exchange(ctx, service, cred.Authenticator(), next, scopesFor(ep, s.challenge), realm.challengeOfService())
	}
	token, err := exchange()
	if ep.Deletes && regerr.IsStatus(err, http.StatusBadRequest) && s.challenge.Parameters["scope"] == "" {
		s.challenge = withScope(s.challenge, ep.Scope("push,pull")) // Quay knows no action "delete"; there, who may push may delete
		token, err = exchange()
	}
	if err != nil {
		return nil, s.WithHint(err)
	}
	if token.AccessToken != "" {
		token.Token = token.AccessToken
	}
	if token.ExpiresIn <= 0 {
		token.ExpiresIn = defaultLifetime
	}
	if len(token.Token) > maxToken {
		return nil, fmt.Errorf("the token service gives a token of more than %d KiB, which no registry would take", maxToken>>10)
	}
	return token, nil
}

// ownChallenge returns the challenge with the registry as its own token service. go-containerregistry checks the realm once
// more, and asks it for nothing: we have the token, and hidingChallenges sees to the rest.
func (s *Client) ownChallenge(ep endpoint.Endpoint) *ggcr.Challenge {
	here := *s.challenge
	here.Parameters = map[string]string{"realm": s.Scheme + "://" + ep.Registry.RegistryStr() + "/"}
	return &here
}

// WithHint says with the error that the credential was not shown, where that is so.
func (s *Client) WithHint(err error) error {
	if err == nil || s.withheldFrom == "" {
		return err
	}
	return regerr.WithHint(err, "; the credential was not shown to "+s.withheldFrom+", which is not this registry's own token service; the administrator can list it in registries.conf")
}

// wantsToken says that the registry takes tokens, and not the credential itself.
func wantsToken(challenge *ggcr.Challenge) bool {
	return strings.EqualFold(challenge.Scheme, "bearer")
}
