package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/transport"
	"github.com/images-io/tagger/test/bench/measure"
	"github.com/images-io/tagger/test/harness"
)

const (
	// tagsOfOne is the number of Tags of one repository, and sharers the number that share each reference.
	tagsOfOne        = 50
	sharedReferences = 10
	sharers          = 100
	// workers is the number of the controller's workers.
	workers = 32
)

// checks measures the requests of checks at a registry that requires tokens, counted there.
type checks struct {
	upstream *guardedRegistry
	client   *registry.Client
	clock    *clocktesting.FakePassiveClock
	tags     []string
}

// requests counts the requests of checks, beside those of go-containerregistry's plain remote.Head.
func requests(ctx context.Context, rows *measure.Report) error {
	c, stop, err := newChecks()
	if err != nil {
		return err
	}
	defer stop()
	peer, err := c.requestsPerCheck(func() error { return c.peerRound(ctx) })
	if err != nil {
		return err
	}
	rows.Note("requests per check, 50 Tags of one repository, plain remote.Head", fmt.Sprintf("%.4g", peer))
	first, err := c.requestsPerCheck(func() error { return c.round(ctx) })
	if err != nil {
		return err
	}
	rows.Count("requests per check, 50 Tags of one repository, the first time", first, 1.1)
	steady, err := c.requestsPerCheck(func() error { return c.round(ctx) })
	if err != nil {
		return err
	}
	rows.Count("requests per check, steady state", steady, 1)
	rows.Count("  of what plain remote.Head takes", steady/peer, 0.34)
	c.clock.SetTime(c.clock.Now().Add(2 * tokenLife))
	expired, err := c.requestsPerCheck(func() error { return c.round(ctx) })
	if err != nil {
		return err
	}
	rows.Count("requests per check, after the token has expired", expired, 1.1)
	if err := c.sharedRound(ctx); err != nil {
		return err
	}
	rows.Count("HEADs in a round of polls, 1,000 Tags that share 10 references", float64(c.upstream.heads.Load()), sharedReferences)
	rows.Count("GETs of manifests in all of that", float64(c.upstream.pulls.Load()), 0)
	return nil
}

func newChecks() (c *checks, stop func(), err error) {
	upstream := newGuardedRegistry()
	dir, err := os.MkdirTemp("", "tagger-bench-")
	stop = func() { upstream.server.Close(); _ = os.RemoveAll(dir) }
	c = &checks{upstream: upstream, clock: clocktesting.NewFakePassiveClock(time.Now())}
	for i := range tagsOfOne {
		tag := fmt.Sprintf("v%d", i)
		err = errors.Join(err, upstream.push("team/app", tag))
		c.tags = append(c.tags, upstream.address()+"/team/app:"+tag)
	}
	if err == nil {
		c.client, err = clientFor(filepath.Join(dir, "registries.conf"), upstream.address(), c.clock)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return c, stop, nil
}

// clientFor returns a client that may use plain HTTP to the registry.
func clientFor(path, address string, clock *clocktesting.FakePassiveClock) (*registry.Client, error) {
	if err := harness.WriteRegistriesConf(path, address); err != nil {
		return nil, err
	}
	configuration, err := registriesconf.Load(path, func(error) {}, nil)
	if err != nil {
		return nil, err
	}
	return registry.New(registry.Options{Options: transport.Options{Configuration: configuration}, Clock: clock}), nil
}

func (c *checks) requestsPerCheck(round func() error) (float64, error) {
	before := c.upstream.all.Load()
	err := round()
	return float64(c.upstream.all.Load()-before) / tagsOfOne, err
}

// round checks each Tag once, as a poll.
func (c *checks) round(ctx context.Context) error {
	c.clock.SetTime(c.clock.Now().Add(time.Second))
	return c.ask(ctx, c.tags, registry.ResolveOptions{NotBefore: c.clock.Now()})
}

// sharedRound polls Tags that share references, and so are due together.
func (c *checks) sharedRound(ctx context.Context) error {
	c.clock.SetTime(c.clock.Now().Add(time.Second))
	c.upstream.heads.Store(0)
	var polled []string
	for range sharers {
		polled = append(polled, c.tags[:sharedReferences]...)
	}
	return c.ask(ctx, polled, registry.ResolveOptions{NotBefore: c.clock.Now(), Poll: true})
}

func (c *checks) ask(ctx context.Context, sources []string, options registry.ResolveOptions) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, from := range sources {
		group.Go(func() error {
			source, err := reference.Parse(from, "")
			if err != nil {
				return err
			}
			_, err = c.client.Resolve(ctx, source, credentials.Keyring{}, options)
			return err
		})
	}
	return group.Wait()
}

// peerRound makes the requests of most other tools.
func (c *checks) peerRound(ctx context.Context) error {
	for _, from := range c.tags {
		tag, err := name.ParseReference(from, name.Insecure)
		if err != nil {
			return err
		}
		if _, err := remote.Head(tag, remote.WithContext(ctx)); err != nil {
			return err
		}
	}
	return nil
}
