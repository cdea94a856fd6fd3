package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/regerr"

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
	configuration *RegistriesConf
	clock         clock.PassiveClock
	quotas        *quotas
	sessions      *sessions
	answers       *answers
	copies        CopyLimits
	// reading and writing are the sessions of copies.
	reading, writing *sessions
	placements       *placements
	// indexes are what manifests name that the mirror has, or is to have.
	indexes *indexes
	listing *listing
	// remembered is who was let in where the last time: passage to credential id.
	remembered *lru.Cache
	// readers bounds the manifests that are read at a time.
	readers  *readers
	timeouts Timeouts
}

// New makes a Client.
func New(options Options) *Client {
	options = options.complete()
	quotas := newQuotas(options.Clock, options.Timeouts.Slow)
	features := newFeatures(options.Clock)
	challenges := newChallengeCache(features, options.Timeouts.Request)
	return &Client{
		configuration: options.Configuration,
		clock:         options.Clock,
		quotas:        quotas,
		sessions:      newSessions(forResolving(options.TransportOptions, quotas.meter), challenges, options.Clock, options.Timeouts.Request),
		copies:        options.Copies,
		reading:       newSessions(forReading(options.TransportOptions, quotas.meter), challenges, options.Clock, options.Timeouts.Request),
		writing:       newSessions(forWriting(options.TransportOptions, quotas.meter), challenges, options.Clock, options.Timeouts.Request),
		placements:    newPlacements(options.Clock, features),
		indexes:       newIndexes(),
		listing:       newListing(features, options.Timeouts.Request),
		answers:       newAnswers(options.Clock, options.Timeouts.Request),
		remembered:    lru.New(maxRemembered),
		readers:       newReaders(),
		timeouts:      options.Timeouts,
	}
}

// Resolve is ResolveOn with the terms of somebody who waits for news: the answer is no older than the call.
func (c *Client) Resolve(ctx context.Context, source reference.Source, keys Keyring) (string, error) {
	return c.ResolveOn(ctx, source, keys, Terms{NotBefore: c.clock.Now()})
}

// ResolveOn asks for the digest of the source: of its index, if it has one, so that all platforms stay. registries.conf
// says where to ask; every mirror is tried in order, then the location. A source that is a digest is checked, too.
//
// The error is an *regerr.Error, or a *Postponed where it is not this question's turn, or ctx's own when the caller gave up. It
// never waits for a turn. Questions about one source with the same credential share requests, as far as their terms allow.
func (c *Client) ResolveOn(ctx context.Context, source reference.Source, keys Keyring, terms Terms) (string, error) {
	if now := c.clock.Now(); terms.NotBefore.After(now) {
		terms.NotBefore = now
	}
	ctx = askedBy(ctx, terms.Asker)
	waiting := ctx
	if terms.Patience > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, terms.Patience)
		defer cancel()
	}
	return c.firstOf(ctx, source, func(at location) (string, error) {
		digest, err := c.resolveAt(waiting, at, keys, terms)
		if err != nil && waiting.Err() != nil && ctx.Err() == nil {
			return "", c.quotas.keptWaiting(at)
		}
		return digest, err
	})
}

// Turn says whether it is of use to ask for the source now: the error is what ResolveOn would fail with at once. It is cheap,
// so that credentials need not be looked up in vain. It is always of use to come back for an answer that is there by now,
// whoever's it is; with other credentials ResolveOn may have to refuse.
func (c *Client) Turn(ctx context.Context, source reference.Source) error {
	_, err := c.firstOf(ctx, source, func(at location) (string, error) {
		if c.answers.waits(at.key()) {
			return "", nil
		}
		return "", c.quotas.turn(at)
	})
	return err
}

// firstOf asks at each location until one answers. Where it is just not our turn the next one is not asked: it would get
// what a busy mirror is there for.
func (c *Client) firstOf(ctx context.Context, source reference.Source, ask func(location) (string, error)) (string, error) {
	locations, err := c.configuration.locations(source)
	if err != nil {
		return "", err
	}
	var failures []error
	for _, at := range locations {
		digest, err := ask(at)
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
	var postponed *Postponed
	return errors.As(err, &postponed) && !postponed.silent
}

// resolveAt tries who we may be there, for as long as the registry refuses us. The most specific credential's refusal is the
// one that is told: its owner meant it for this image.
func (c *Client) resolveAt(ctx context.Context, at location, keys Keyring, terms Terms) (digest string, err error) {
	err = c.asEach(at, keys, func(who credential) error {
		digest, err = c.resolveAs(ctx, at, who, terms)
		return err
	})
	return digest, err
}

// asEach tries as one identity after the other.
func (c *Client) asEach(at location, keys Keyring, try func(credential) error) error {
	var refusal error
	tried := 0
	for _, who := range c.identities(at, keys) {
		err := try(who)
		if err == nil {
			c.remembered.Add(passage(at, keys), who.id)
			return nil
		}
		if !regerr.IsUnauthorized(err) {
			return afterRefusals(err, tried)
		}
		if refusal == nil {
			refusal = err
		}
		if who != anonymous {
			tried++
		}
	}
	return refusedAll(refusal, tried)
}

// resolveAs takes an answer that is there, or else waits for one. Who has patience waits only where there is a place, and
// where the host is known to answer soon: else the question is asked, and the answer is there when they come back.
func (c *Client) resolveAs(ctx context.Context, at location, who credential, terms Terms) (string, error) {
	asked := c.question(at, who, terms)
	if known, ok := c.answers.known(asked); ok {
		return known.digest, known.err
	}
	if terms.Patience == 0 {
		return c.answers.get(ctx, asked)
	}
	if leave := c.quotas.enter(at, terms.Asker); leave != nil {
		defer leave()
		return c.answers.get(ctx, asked)
	}
	if err := c.answers.start(ctx, asked); err != nil {
		return "", err
	}
	return "", c.quotas.underWay(at)
}

func (c *Client) access(sessions *sessions, at location, who credential) access {
	return access{sessions: sessions, quotas: c.quotas, readers: c.readers, timeouts: c.timeouts, at: at, who: who}
}

func (c *Client) question(at location, who credential, terms Terms) question {
	return question{
		key:       who.id + " " + at.key(),
		about:     at.key(),
		notBefore: terms.NotBefore,
		begin: func(isStray bool) (func(error), error) {
			if err := c.quotas.spare(at, who, terms.Hint); err != nil {
				return nil, err
			}
			if terms.Hint {
				if err := c.quotas.courtesy(at); err != nil {
					return nil, err
				}
			}
			if terms.Patience == 0 {
				return func(error) {}, nil
			}
			return c.quotas.begin(at, terms.Asker, isStray)
		},
		ask: func(ctx context.Context) (string, error) {
			return c.access(c.sessions, at, who).digest(ctx)
		},
	}
}

// identities are the credentials written for the place, most specific first, and the anonymous one. Who was let in the
// last time comes first, so that wrong passwords beside a good one cost nothing.
func (c *Client) identities(at location, keys Keyring) []credential {
	var found []credential
	for _, entry := range keys.matching(at.host, at.repository) {
		found = append(found, entry.credential)
	}
	found = append(found, anonymous)
	last, known := c.remembered.Get(passage(at, keys))
	if !known {
		return found
	}
	isLast := func(candidate credential) bool { return candidate.id == last }
	if i := slices.IndexFunc(found, isLast); i > 0 {
		found = slices.Concat(found[i:i+1], found[:i], found[i+1:])
	}
	return found
}

// isRemembered reports whether it is known who is let in. identities has that one first.
func (c *Client) isRemembered(at location, keys Keyring) bool {
	_, known := c.remembered.Get(passage(at, keys))
	return known
}

// passage is a repository as the holder of these credentials reaches it.
func passage(at location, keys Keyring) string {
	return keys.id + " " + at.host + "/" + at.repository
}

// lastOf is the failure at the location, which comes after its mirrors; the mirrors' are told with it.
func lastOf(failures []error) error {
	last := failures[len(failures)-1]
	if len(failures) == 1 {
		return last
	}
	return regerr.WithText(last, fmt.Sprintf("; before, its mirrors failed: %v", errors.Join(failures[:len(failures)-1]...)))
}
