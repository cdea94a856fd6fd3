package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry/auth"
	"github.com/images-io/tagger/internal/registry/copier"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/remote"
	"github.com/images-io/tagger/internal/registry/throttle"
	"github.com/images-io/tagger/internal/registry/transport"
)

// maxRemembered bounds the repositories for which the credential that was accepted is remembered.
const maxRemembered = 4096

// ResolveOptions say how an image is resolved.
type ResolveOptions struct {
	// NotBefore is how fresh the digest must be: it comes from a request that began then or later. A time in the future means now.
	NotBefore time.Time
	// Poll: no user waits for the digest, so it leaves the reserve of a rate limit to imports.
	Poll bool
	// Namespace is that of the Tag.
	Namespace string
}

// Client resolves and copies images. It is safe for concurrent use.
type Client struct {
	configuration *registriesconf.Config
	clock         clock.PassiveClock
	throttler     *throttle.Throttler
	tokens        *auth.TokenCache
	digests       *digestCache
	copies        copier.Limits
	// readTokens and writeTokens are those of copies.
	readTokens, writeTokens *auth.TokenCache
	locations               *endpoint.BlobLocations
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
	throttler := throttle.New(options.Clock, transport.HeaderTimeout)
	features := endpoint.NewFeatures(options.Clock)
	challenges := auth.NewChallengeCache(features, options.Timeouts.Request)
	return &Client{
		configuration: options.Configuration,
		clock:         options.Clock,
		throttler:     throttler,
		tokens:        auth.NewTokenCache(transport.ForResolving(options.Options, throttler.Middleware), challenges, options.Clock, options.Timeouts.Request),
		copies:        options.Copies,
		readTokens:    auth.NewTokenCache(transport.ForReading(options.Options, throttler.Middleware), challenges, options.Clock, options.Timeouts.Request),
		writeTokens:   auth.NewTokenCache(transport.ForWriting(options.Options, throttler.Middleware), challenges, options.Clock, options.Timeouts.Request),
		locations:     endpoint.NewBlobLocations(options.Clock, features),
		children:      copier.NewChildCache(),
		referrers:     remote.NewReferrersSupport(features, options.Timeouts.Request),
		digests:       newDigestCache(options.Clock, options.Timeouts.Request),
		remembered:    lru.New(maxRemembered),
		readers:       throttle.NewKeyedSemaphore(),
		timeouts:      options.Timeouts,
	}
}

// Resolve returns the digest of the source now: of its index, if it has one, so that all platforms stay. registries.conf says which
// endpoints to ask: each mirror in order, then the location. A source that is a digest is checked, too. Tags with one source and credential
// share a request, as far as NotBefore allows.
//
// The error is an *regerr.Error, a *throttle.ThrottledError where the request has to wait for long, or ctx's own when the caller gave up.
func (c *Client) Resolve(ctx context.Context, source reference.Source, keys credentials.Keyring, options ResolveOptions) (string, error) {
	if now := c.clock.Now(); options.NotBefore.After(now) {
		options.NotBefore = now
	}
	return c.tryEndpoints(ctx, source, func(ep endpoint.Endpoint) (digest string, err error) {
		err = c.tryCredentials(ep, keys, func(cred credentials.Credential) error {
			digest, err = c.resolveAs(ctx, ep, cred, options)
			return err
		})
		return digest, err
	})
}

// tryEndpoints sends the request to each location until one responds. It does not go on while requests to a location are throttled: the
// next one would get what a busy mirror is there for.
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

// isBusy reports whether a host that works has other requests to serve first.
func isBusy(err error) bool {
	var throttled *throttle.ThrottledError
	return errors.As(err, &throttled) && !throttled.IsFailing
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

// resolveAs resolves with one credential.
func (c *Client) resolveAs(ctx context.Context, ep endpoint.Endpoint, cred credentials.Credential, options ResolveOptions) (string, error) {
	return c.digests.get(ctx, resolveKey(cred.ID+" "+ep.Key()), options.NotBefore, func() error {
		if err := c.throttler.CheckRateLimit(ep, cred.ID, options.Poll); err != nil || !options.Poll {
			return err
		}
		return c.throttler.CheckReserve(ep)
	}, c.repository(c.tokens, ep, cred, options.Namespace).Digest)
}

// repository returns a repository at an endpoint, as a credential sees it, for Tags of a namespace.
func (c *Client) repository(tokens *auth.TokenCache, ep endpoint.Endpoint, cred credentials.Credential, namespace string) remote.Repository {
	return remote.Repository{
		Tokens: tokens, Throttler: c.throttler, Readers: c.readers, Timeouts: c.timeouts, Endpoint: ep, Credential: cred, Namespace: namespace,
	}
}

// credentialsFor returns the credentials written for the place, most specific first, and the anonymous one. Who was let in the
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

// repositoryKey returns a repository as the holder of these credentials reaches it.
func repositoryKey(ep endpoint.Endpoint, keys credentials.Keyring) string {
	return keys.ID + " " + ep.Host + "/" + ep.Repository
}

// lastOf returns the failure at the location, which comes after its mirrors; the mirrors' are told with it.
func lastOf(failures []error) error {
	last := failures[len(failures)-1]
	if len(failures) == 1 {
		return last
	}
	return regerr.WithText(last, fmt.Sprintf("; before, its mirrors failed: %v", errors.Join(failures[:len(failures)-1]...)))
}
