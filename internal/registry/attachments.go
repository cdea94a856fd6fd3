package registry

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	v1 "github.com/images-io/tagger/api/v1"
)

// aboutAttachments says why it was asked.
const aboutAttachments = "; this is about what is attached to the image, such as signatures"

// attachment is a manifest that goes with an image.
type attachment struct {
	*node
	// tag is what it is found by; empty for one that names the image as its subject.
	tag string
}

// attachmentSet is what is attached to an image.
type attachmentSet struct {
	// required: the first error ends the copy. Otherwise errors are kept, and each attachment is copied by itself.
	required bool
	found    []attachment
	errors   []error
}

// discover looks in all places at once. What one of them says keeps no other from being copied, unless all are required.
func (s *attachmentSet) discover(ctx context.Context, c *copying, image digest.Digest) error {
	lookups := c.lookups(image)
	found, failures := make([][]attachment, len(lookups)), make([]error, len(lookups))
	var group sync.WaitGroup
	for i, lookup := range lookups {
		group.Go(func() { found[i], failures[i] = lookup(ctx) })
	}
	group.Wait()
	for _, err := range failures {
		if err := s.add(ctx, err); err != nil {
			return err
		}
	}
	s.found = once(slices.Concat(found...))
	return nil
}

// copy copies each attachment by itself, so that one that is refused keeps no other. It notes in the result which are missing.
func (s *attachmentSet) copy(ctx context.Context, c *copying, image digest.Digest) error {
	for len(s.found) > 0 {
		root := s.found[0].node
		same := slices.DeleteFunc(slices.Clone(s.found), func(a attachment) bool { return a.node != root })
		s.found = slices.DeleteFunc(s.found, func(a attachment) bool { return a.node == root })
		if err := s.add(ctx, c.alone().attach(ctx, image, same)); err != nil {
			return err
		}
	}
	c.tally.missing(s.missing())
	return nil
}

// add keeps an error. It returns the error of a caller who gave up, and any where attachments are required.
func (s *attachmentSet) add(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case s.required:
		return adding(err, aboutAttachments)
	default:
		s.errors = append(s.errors, err)
		return nil
	}
}

// missing returns why attachments are missing, or may be; empty if none is.
func (s *attachmentSet) missing() string {
	var texts []string
	for _, err := range s.errors {
		if text := err.Error(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return v1.Truncate(strings.Join(texts, "; "), v1.MaxReasonLength/2)
}

// alone returns a copying of its own for one attachment: nothing waits for a blob that another attachment failed to bring.
func (c *copying) alone() *copying {
	return &copying{
		delivery: newDelivery(c.source, c.mirror, c.namespace, c.limits.BlobsPerCopy, c.tally),
		tag:      c.tag, limits: c.limits, listing: c.listing, indexes: c.indexes,
	}
}

// attach puts what is attached, its tags once all of it is there, and notes in the mirror's index what the mirror does not note
// by itself (distribution-spec, "Pushing Manifests with Subject").
func (c *copying) attach(ctx context.Context, image digest.Digest, found []attachment) error {
	roots := make([]*node, 0, len(found))
	for _, attached := range found {
		if !slices.Contains(roots, attached.node) {
			roots = append(roots, attached.node)
		}
	}
	if err := c.below(ctx, roots...); err != nil {
		return err
	}
	if err := c.arrived(ctx, roots); err != nil {
		return err
	}
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(manifestsAtOnce)
	for _, attached := range found {
		if attached.tag == "" {
			continue
		}
		group.Go(func() error { return c.mirror.putAttachment(working, attached.node, attached.tag) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	unlisted := slices.DeleteFunc(roots, func(n *node) bool { return c.manifests.of(n.Digest).noted || n.body.Subject == nil })
	if err := c.mirror.addReferrers(ctx, image, unlisted); err != nil {
		return err
	}
	for _, attached := range found {
		c.mirror.placements.attach(c.mirror.at, attached.tag, attached.Digest)
	}
	c.tally.attached(len(found))
	return nil
}
