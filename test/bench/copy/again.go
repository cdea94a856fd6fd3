package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/images-io/tagger/test/bench/measure"
)

// again counts what the copy of an image takes that is at the mirror already, by a program that does not know that.
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
		if err := s.mirror.clear(); err != nil {
			return err
		}
		if _, err := s.copy(ctx, t, digest, copied); err != nil {
			return err
		}
		one, err := s.copy(ctx, t, digest, copied)
		if err != nil {
			return err
		}
		if t.name != tagger.name {
			rows.Note("requests for the same image again: "+t.name, fmt.Sprint(one.requests()))
			continue
		}
		rows.Count("requests for the same image again: "+t.name, float64(one.requests()), 1)
		rows.AtLeast("  of these, HEADs at the mirror", float64(one.mirror.of(http.MethodHead)), 1)
	}
	return nil
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
