package main

import (
	"context"
	"errors"
)

// lookingCosts is the number of additional requests of a copy that looks for missing signatures.
func (s *site) lookingCosts(ctx context.Context, digest string) (requests int, err error) {
	with, err := s.requestsOnceKnown(ctx, digest, "-attachments")
	if err != nil {
		return 0, err
	}
	without, err := s.requestsOnceKnown(ctx, digest)
	return with - without, err
}

// requestsOnceKnown is the number of requests of a copy in a process that has copied from the same registry before.
func (s *site) requestsOnceKnown(ctx context.Context, digest string, flags ...string) (requests int, err error) {
	if err := s.mirror.clear(); err != nil {
		return 0, err
	}
	process, err := startCopying(s.copier(ctx, flags...))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, process.end()) }()
	var one outcome
	for _, image := range []string{copied, "others/app:0"} {
		s.traffic()
		if _, err := process.copy(s.from(digest), s.to(image)); err != nil {
			return 0, err
		}
		one.source, one.mirror = s.traffic()
	}
	return one.requests(), nil
}
