package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"syscall"
	"time"

	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

const (
	// requestsLimit bounds what one resolve may take at one place as one identity: the greeting, a token, a HEAD and
	// perhaps a GET, whoever waits for it.
	requestsLimit = 30 * time.Second

	// maxCredentials bounds how many matching credentials are tried before asking anonymously, so that a namespace full of
	// wrong passwords locks no account.
	maxCredentials = 3

	// maxRemembered bounds for how many repositories the identity that was let in is remembered.
	maxRemembered = 4096
)

// Options say how a Client reaches registries. The zero value reaches public registries and trusts the system's CAs.
type Options struct {
	// Version goes into the User-Agent, tagger/<version>. Empty means dev.
	Version string
	// Authorities are the CAs that count; nil means the system's.
	Authorities *Authorities
	// Proxy chooses the proxy of a URL, as the ProxyFunc of golang.org/x/net/http/httpproxy does; nil means no proxy.
	Proxy func(*url.URL) (*url.URL, error)
	// Configuration is what the administrator says in registries.conf; nil means nothing.
	Configuration *RegistriesConf
	// Clock tells when a token is over; nil means the system's.
	Clock clock.PassiveClock

	// What tests set: how long we wait, who looks names up, and what is asked before a connection is made.
	limits   limits
	resolver *net.Resolver
	control  func(network, address string, connection syscall.RawConn) error
}

// Client resolves images. It is safe for concurrent use.
type Client struct {
	configuration *RegistriesConf
	sessions      *sessions
	resolves      coalesced[string]
	// remembered is who was let in where the last time: passage to credential id.
	remembered *lru.Cache
}

// New makes a Client.
func New(options Options) *Client {
	options = options.complete()
	return &Client{
		configuration: options.Configuration,
		sessions:      newSessions(newTransports(options), options.Clock, options.limits.requests),
		resolves:      coalesced[string]{limit: options.limits.requests},
		remembered:    lru.New(maxRemembered),
	}
}

// complete puts the defaults where nothing is said.
func (options Options) complete() Options {
	if options.Authorities == nil {
		options.Authorities = &Authorities{}
	}
	if options.Proxy == nil {
		options.Proxy = func(*url.URL) (*url.URL, error) { return nil, nil }
	}
	if options.Configuration == nil {
		options.Configuration = &RegistriesConf{}
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	options.limits.requests = cmp.Or(options.limits.requests, requestsLimit)
	options.limits.header = cmp.Or(options.limits.header, headerTimeout)
	options.limits.stall = cmp.Or(options.limits.stall, stallTimeout)
	return options
}

// Resolve asks for the digest of the source: of its index, if it has one, so that all platforms stay. registries.conf
// says where to ask; every mirror is tried in order, then the location. A source that is a digest is checked, too.
//
// The error is an *Error, or ctx's own when the caller gave up. Calls for the same source with the same credential share
// the requests of the first, so an answer may be older than the call by the time that one HEAD takes.
func (c *Client) Resolve(ctx context.Context, source reference.Source, credentials Keyring) (string, error) {
	locations, err := c.configuration.locations(source)
	if err != nil {
		return "", err
	}
	var failures []error
	for _, at := range locations {
		digest, err := c.resolveAt(ctx, at, credentials)
		if err == nil || ctx.Err() != nil {
			return digest, err
		}
		failures = append(failures, err)
	}
	return "", lastOf(failures)
}

// resolveAt tries who we may be there, one after the other, for as long as the registry refuses us. The most specific
// credential's refusal is the one that is told: its owner meant it for this image.
func (c *Client) resolveAt(ctx context.Context, at location, credentials Keyring) (string, error) {
	var refusal error
	tried := 0
	for _, who := range c.identities(at, credentials) {
		digest, err := c.resolveAs(ctx, at, who)
		if err == nil {
			c.remembered.Add(passage(at, credentials), who.id)
			return digest, nil
		}
		if !isRefusal(err) {
			return "", afterRefusals(err, tried)
		}
		if refusal == nil {
			refusal = err
		}
		if who != anonymous {
			tried++
		}
	}
	return "", refusedAll(refusal, tried)
}

func (c *Client) resolveAs(ctx context.Context, at location, who credential) (string, error) {
	return c.resolves.do(ctx, who.id+" "+at.key(), func(ctx context.Context) (string, error) {
		return c.digest(ctx, at, who)
	})
}

// digest resolves with the session that is kept. Where that one is refused, its token may just be over: only a new
// session's refusal counts.
func (c *Client) digest(ctx context.Context, at location, who credential) (string, error) {
	var refusal error
	for range 2 {
		current, isNew, err := c.sessions.get(ctx, at, who)
		if err != nil {
			return "", meaning(err, at)
		}
		digest, err := current.digest(ctx, at)
		if err == nil {
			return digest, nil
		}
		refusal = meaning(current.explained(err), at)
		if !isRefusal(refusal) {
			return "", refusal
		}
		if isNew {
			c.sessions.forget(at, who, current)
			break
		}
		c.sessions.end(at, who, current)
	}
	return "", refusal
}

// identities are the credentials written for the place, most specific first, and the anonymous one. Who was let in the
// last time comes first, so that wrong passwords beside a good one cost nothing.
func (c *Client) identities(at location, credentials Keyring) []credential {
	found := credentials.matching(at.host, at.repository)
	found = append(found[:min(len(found), maxCredentials)], anonymous)
	last, known := c.remembered.Get(passage(at, credentials))
	if !known {
		return found
	}
	isLast := func(candidate credential) bool { return candidate.id == last }
	if i := slices.IndexFunc(found, isLast); i > 0 {
		found = slices.Concat(found[i:i+1], found[:i], found[i+1:])
	}
	return found
}

// passage is a repository as the holder of these credentials reaches it.
func passage(at location, credentials Keyring) string {
	return credentials.id + " " + at.host + "/" + at.repository
}

// lastOf is the failure at the location, which comes after its mirrors; the mirrors' are told with it.
func lastOf(failures []error) error {
	var last *Error
	if !errors.As(failures[len(failures)-1], &last) || len(failures) == 1 {
		return failures[len(failures)-1]
	}
	return last.adding(fmt.Sprintf("; before, its mirrors failed: %v", errors.Join(failures[:len(failures)-1]...)))
}

func isRefusal(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.reason == v1.ReasonUnauthorized
}
