package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/auth"
	"github.com/images-io/tagger/internal/registry/copier"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/remote"
	"github.com/images-io/tagger/internal/registry/throttle"
	"github.com/images-io/tagger/internal/registry/transport"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

const (

	// maxRemembered bounds for how many repositories the identity that was let in is remembered.
	maxRemembered = 4096
)

// Terms say how a question is asked.
type Terms struct {
	// NotBefore is how fresh the answer must be: it must come of a request that began then or later. A time to come means now.
	NotBefore time.Time
	// Hint: nobody waits for the answer, so it leaves the reserve of a rate limit to others.
	Hint bool
	// Asker is who asks, such as a namespace. Nobody has more than a share of what there is for all.
	Asker string
	// Patience is how long to wait for the answer: when it comes later, it is there for whoever asks again. Those who have
	// patience share the places that there are; 0 waits until the answer comes, beside all others.
	Patience time.Duration
}

// Client resolves and copies images. It is safe for concurrent use.
type Client struct {
	configuration *registriesconf.Config
	clock         clock.PassiveClock
	throttler     *throttle.Throttler
	tokens        *auth.TokenCache
	answers       *answers
	copies        copier.Limits
	// readTokens and writing are the sessions of copies.
	readTokens, writeTokens *auth.TokenCache
	locations               *remote.BlobLocations
	// children are what manifests name that the mirror has, or is to have.
	children  *copier.ChildCache
	referrers *remote.ReferrersSupport
	// remembered is who was let in where the last time: passage to credential id.
	remembered *lru.Cache
	// readers bounds the manifests that are read at a time.
	readers  *throttle.KeyedSemaphore
	timeouts transport.Timeouts
}

// New makes a Client.
func New(options Options) *Client {
	options = options.complete()
	quotas := throttle.New(options.Clock, options.Timeouts.Slow)
	features := endpoint.NewFeatures(options.Clock)
	challenges := auth.NewChallengeCache(features, options.Timeouts.Request)
	return &Client{
		configuration: options.Configuration,
		clock:         options.Clock,
		throttler:     quotas,
		tokens:        auth.NewTokenCache(transport.ForResolving(options.Options, quotas.Middleware), challenges, options.Clock, options.Timeouts.Request),
		copies:        options.Copies,
		readTokens:    auth.NewTokenCache(transport.ForReading(options.Options, quotas.Middleware), challenges, options.Clock, options.Timeouts.Request),
		writeTokens:   auth.NewTokenCache(transport.ForWriting(options.Options, quotas.Middleware), challenges, options.Clock, options.Timeouts.Request),
		locations:     remote.NewBlobLocations(options.Clock, features),
		children:      copier.NewChildCache(),
		referrers:     remote.NewReferrersSupport(features, options.Timeouts.Request),
		answers:       newAnswers(options.Clock, options.Timeouts.Request),
		remembered:    lru.New(maxRemembered),
		readers:       throttle.NewKeyedSemaphore(),
		timeouts:      options.Timeouts,
	}
}

// Resolve is ResolveOn with the terms of somebody who waits for news: the answer is no older than the call.
func (c *Client) Resolve(ctx context.Context, source reference.Source, keys credentials.Keyring) (string, error) {
	return c.ResolveOn(ctx, source, keys, Terms{NotBefore: c.clock.Now()})
}

// ResolveOn asks for the digest of the source: of its index, if it has one, so that all platforms stay. registries.conf
// says where to ask; every mirror is tried in order, then the location. A source that is a digest is checked, too.
//
// The error is an *regerr.Error, or a *Postponed where it is not this question's turn, or ctx's own when the caller gave up. It
// never waits for a turn. Questions about one source with the same credential share requests, as far as their terms allow.
func (c *Client) ResolveOn(ctx context.Context, source reference.Source, keys credentials.Keyring, terms Terms) (string, error) {
	if now := c.clock.Now(); terms.NotBefore.After(now) {
		terms.NotBefore = now
	}
	ctx = throttle.WithNamespace(ctx, terms.Asker)
	waiting := ctx
	if terms.Patience > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, terms.Patience)
		defer cancel()
	}
	return c.tryEndpoints(ctx, source, func(ep endpoint.Endpoint) (string, error) {
		digest, err := c.resolveAt(waiting, ep, keys, terms)
		if err != nil && waiting.Err() != nil && ctx.Err() == nil {
			return "", c.throttler.KeptWaiting(ep)
		}
		return digest, err
	})
}

// Turn says whether it is of use to ask for the source now: the error is what ResolveOn would fail with at once. It is cheap,
// so that credentials need not be looked up in vain. It is always of use to come back for an answer that is there by now,
// whoever's it is; with other credentials ResolveOn may have to refuse.
func (c *Client) Turn(ctx context.Context, source reference.Source) error {
	_, err := c.tryEndpoints(ctx, source, func(ep endpoint.Endpoint) (string, error) {
		if c.answers.waits(ep.Key()) {
			return "", nil
		}
		return "", c.throttler.Turn(ep)
	})
	return err
}

// tryEndpoints asks at each location until one answers. Where it is just not our turn the next one is not asked: it would get
// what a busy mirror is there for.
func (c *Client) tryEndpoints(ctx context.Context, source reference.Source, ask func(endpoint.Endpoint) (string, error)) (string, error) {
	locations, err := c.configuration.Endpoints(source)
	if err != nil {
		return "", err
	}
	var failures []error
	for _, ep := range locations {
		digest, err := ask(ep)
		if err == nil || ctx.Err() != nil || isBusy(err) || isMirrors(err) {
			return digest, err
		}
		failures = append(failures, err)
	}
	return "", lastOf(failures)
}

// isMirrors says that the mirror is at fault, whatever location is copied from.
func isMirrors(err error) bool {
	return regerr.HasReason(err, v1.ReasonMirrorUnavailable)
}

// isBusy says that a host that answers has others to answer first.
func isBusy(err error) bool {
	var postponed *throttle.Postponed
	return errors.As(err, &postponed) && !postponed.Silent
}

// resolveAt tries who we may be there, for as long as the registry refuses us. The most specific credential's refusal is the
// one that is told: its owner meant it for this image.
func (c *Client) resolveAt(ctx context.Context, ep endpoint.Endpoint, keys credentials.Keyring, terms Terms) (digest string, err error) {
	err = c.tryCredentials(ep, keys, func(cred credentials.Credential) error {
		digest, err = c.resolveAs(ctx, ep, cred, terms)
		return err
	})
	return digest, err
}

// tryCredentials tries as one identity after the other.
func (c *Client) tryCredentials(ep endpoint.Endpoint, keys credentials.Keyring, try func(credentials.Credential) error) error {
	var refusal error
	tried := 0
	for _, cred := range c.credentialsFor(ep, keys) {
		err := try(cred)
		if err == nil {
			c.remembered.Add(repositoryKey(ep, keys), cred.ID)
			return nil
		}
		if !regerr.IsUnauthorized(err) {
			return credentials.AfterRefusals(err, tried)
		}
		if refusal == nil {
			refusal = err
		}
		if cred != credentials.Anonymous {
			tried++
		}
	}
	return credentials.AllRefused(refusal, tried)
}

// resolveAs takes an answer that is there, or else waits for one. Who has patience waits only where there is a place, and
// where the host is known to answer soon: else the question is asked, and the answer is there when they come back.
func (c *Client) resolveAs(ctx context.Context, ep endpoint.Endpoint, cred credentials.Credential, terms Terms) (string, error) {
	asked := c.question(ep, cred, terms)
	if known, ok := c.answers.known(asked); ok {
		return known.digest, known.err
	}
	if terms.Patience == 0 {
		return c.answers.get(ctx, asked)
	}
	if leave := c.throttler.Enter(ep, terms.Asker); leave != nil {
		defer leave()
		return c.answers.get(ctx, asked)
	}
	if err := c.answers.start(ctx, asked); err != nil {
		return "", err
	}
	return "", c.throttler.UnderWay(ep)
}

func (c *Client) access(sessions *auth.TokenCache, ep endpoint.Endpoint, cred credentials.Credential) remote.Repository {
	return remote.Repository{Tokens: sessions, Throttler: c.throttler, Readers: c.readers, Timeouts: c.timeouts, Endpoint: ep, Credential: cred}
}

func (c *Client) question(ep endpoint.Endpoint, cred credentials.Credential, terms Terms) question {
	return question{
		key:       cred.ID + " " + ep.Key(),
		about:     ep.Key(),
		notBefore: terms.NotBefore,
		begin: func(isStray bool) (func(error), error) {
			if err := c.throttler.CheckRateLimit(ep, cred, terms.Hint); err != nil {
				return nil, err
			}
			if terms.Hint {
				if err := c.throttler.CheckReserve(ep); err != nil {
					return nil, err
				}
			}
			if terms.Patience == 0 {
				return func(error) {}, nil
			}
			return c.throttler.Begin(ep, terms.Asker, isStray)
		},
		ask: func(ctx context.Context) (string, error) {
			return c.access(c.tokens, ep, cred).Digest(ctx)
		},
	}
}

// credentialsFor are the credentials written for the place, most specific first, and the anonymous one. Who was let in the
// last time comes first, so that wrong passwords beside a good one cost nothing.
func (c *Client) credentialsFor(ep endpoint.Endpoint, keys credentials.Keyring) []credentials.Credential {
	var found []credentials.Credential
	for _, entry := range keys.Matching(ep.Host, ep.Repository) {
		found = append(found, entry.Credential)
	}
	found = append(found, credentials.Anonymous)
	last, known := c.remembered.Get(repositoryKey(ep, keys))
	if !known {
		return found
	}
	isLast := func(candidate credentials.Credential) bool { return candidate.ID == last }
	if i := slices.IndexFunc(found, isLast); i > 0 {
		found = slices.Concat(found[i:i+1], found[:i], found[i+1:])
	}
	return found
}

// isRemembered reports whether it is known who is let in. identities has that one first.
func (c *Client) isRemembered(ep endpoint.Endpoint, keys credentials.Keyring) bool {
	_, known := c.remembered.Get(repositoryKey(ep, keys))
	return known
}

// repositoryKey is a repository as the holder of these credentials reaches it.
func repositoryKey(ep endpoint.Endpoint, keys credentials.Keyring) string {
	return keys.ID + " " + ep.Host + "/" + ep.Repository
}

// lastOf is the failure at the location, which comes after its mirrors; the mirrors' are told with it.
func lastOf(failures []error) error {
	last := failures[len(failures)-1]
	if len(failures) == 1 {
		return last
	}
	return regerr.WithText(last, fmt.Sprintf("; before, its mirrors failed: %v", errors.Join(failures[:len(failures)-1]...)))
}
