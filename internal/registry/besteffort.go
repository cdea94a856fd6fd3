package registry

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
)

// attachmentSet is what is attached to an image that is copied with it as far as registries allow.
type attachmentSet struct {
	found  []attachment
	errors []error
}

// discover looks in all places, whatever the others say. It returns an error if a retry may help.
func (s *attachmentSet) discover(ctx context.Context, c *copying, image digest.Digest) error {
	lookups := c.lookups(image)
	found, failures := make([][]attachment, len(lookups)), make([]error, len(lookups))
	var group sync.WaitGroup
	for i, lookup := range lookups {
		group.Go(func() { found[i], failures[i] = lookup(ctx) })
	}
	group.Wait()
	for _, err := range failures {
		if err := s.add(err); err != nil {
			return adding(err, aboutAttachments)
		}
	}
	s.found = once(slices.Concat(found...))
	return nil
}

// copy copies each attachment by itself, so that one that is refused keeps no other. It notes in the result which are missing. It
// returns an error if a retry may help.
func (s *attachmentSet) copy(ctx context.Context, c *copying, image digest.Digest) error {
	for len(s.found) > 0 {
		root := s.found[0].node
		same := slices.DeleteFunc(slices.Clone(s.found), func(a attachment) bool { return a.node != root })
		s.found = slices.DeleteFunc(s.found, func(a attachment) bool { return a.node == root })
		if err := s.add(c.alone().attach(ctx, image, same)); err != nil {
			return adding(err, aboutAttachments)
		}
	}
	if len(s.errors) > 0 {
		texts := make([]string, len(s.errors))
		for i, err := range s.errors {
			texts[i] = err.Error()
		}
		c.tally.missing(v1.Truncate(strings.Join(texts, "; "), v1.MaxReasonLength/2))
	}
	return nil
}

// add keeps an error that no retry helps, and returns any other.
func (s *attachmentSet) add(err error) error {
	if err == nil {
		return nil
	}
	if !isAttachmentRefused(err) {
		return err
	}
	s.errors = append(s.errors, err)
	return nil
}

// isAttachmentRefused reports whether a registry refused a request about an attachment, or what is attached is not whole. A registry that is
// overloaded or cannot be reached is tried again.
func isAttachmentRefused(err error) bool {
	var failure *Error
	if errors.As(err, &failure) && failure.reason == v1.ReasonInvalidContent {
		return true
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	default:
		return true
	}
}

// alone returns a copying of its own for one attachment: nothing waits for a blob that another attachment failed to bring.
func (c *copying) alone() *copying {
	return &copying{
		delivery: newDelivery(c.source, c.mirror, c.namespace, c.limits.BlobsPerCopy, c.tally),
		tag:      c.tag, limits: c.limits, listing: c.listing, indexes: c.indexes,
	}
}
