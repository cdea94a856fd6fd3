package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/images-io/tagger/test/bench/measure"
)

// again counts the requests for an image that the mirror has already, by a program without that knowledge.
func again(ctx context.Context, rows *measure.Report) (err error) {
	s, err := openRelayedSite(ctx, 0)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	digest, err := s.publish(ctx, small)
	if err != nil {
		return err
	}
	for _, t := range append(peers(), tagger) {
		one, err := s.copyAgain(ctx, t, digest)
		what := "requests for the same image again: " + t.name
		switch {
		case err != nil && t.isPeer:
			rows.Note(what, cannotCopy(err))
		case err != nil:
			return err
		case t.isPeer:
			rows.Note(what, fmt.Sprint(one.requests()))
		default:
			rows.Count(what, float64(one.requests()), 2) // a ping and a HEAD
			rows.AtLeast("  of these, HEADs at the mirror", float64(one.mirror.of(http.MethodHead)), 1)
		}
	}
	return nil
}

// copyAgain copies an image twice and returns the second outcome.
func (s *site) copyAgain(ctx context.Context, t tool, digest string) (outcome, error) {
	if err := s.mirror.clear(); err != nil {
		return outcome{}, err
	}
	if _, err := s.copy(ctx, t, digest, copied); err != nil {
		return outcome{}, err
	}
	return s.copy(ctx, t, digest, copied)
}

// of is how many requests have the method.
func (t traffic) of(method string) (n int) {
	for _, one := range t.methods {
		if one == method {
			n++
		}
	}
	return n
}
