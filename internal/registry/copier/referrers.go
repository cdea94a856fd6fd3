package copier

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"

	v1 "github.com/images-io/tagger/api/v1"
)

// aboutAttachments says why it was asked.
const aboutAttachments = "; this is about what is attached to the image, such as signatures"

// attachment is a manifest that goes with an image.
type attachment struct {
	// node is nil where it is known that the attachment is refused.
	*manifest.Node
	// tag is what it is found by; empty for one that names the image as its subject.
	tag     string
	refusal error
}

// attachmentSet is what is attached to an image.
type attachmentSet struct {
	// required: the first error ends the copy. Otherwise errors are kept, and each attachment is copied by itself.
	required bool
	found    []attachment
	errors   []error
}

// discover looks in all places at once. What one of them says keeps no other from being copied, unless all are required.
func (s *attachmentSet) discover(ctx context.Context, c *Copying, image digest.Digest) error {
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
	for _, a := range slices.Concat(found...) {
		if a.Node == nil {
			s.errors = append(s.errors, a.refusal)
		} else {
			s.found = append(s.found, a)
		}
	}
	s.found = once(s.found)
	return nil
}

// copy copies each attachment by itself, so that one that is refused keeps no other. It notes in the result which are missing.
func (s *attachmentSet) copy(ctx context.Context, c *Copying, image digest.Digest) error {
	for len(s.found) > 0 {
		root := s.found[0].Node
		same := slices.DeleteFunc(slices.Clone(s.found), func(a attachment) bool { return a.Node != root })
		s.found = slices.DeleteFunc(s.found, func(a attachment) bool { return a.Node == root })
		err := c.alone().attach(ctx, image, same)
		if isFinalForAttachment(err) {
			c.noteAttachments(same, err)
		}
		if err := s.add(ctx, err); err != nil {
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
		return regerr.WithText(err, aboutAttachments)
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

// isFinalForAttachment reports whether another try fares no better: a registry refuses the attachment, or it is not whole. A login may
// be corrected.
func isFinalForAttachment(err error) bool {
	if regerr.HasReason(err, v1.ReasonInvalidContent) {
		return true
	}
	return remote.IsAbsent(err) && !regerr.IsStatus(err, http.StatusUnauthorized, http.StatusForbidden)
}

// noteAttachments notes what became of attachments.
func (c *Copying) noteAttachments(attachments []attachment, refusal error) {
	for _, a := range attachments {
		c.mirror.Placements.NoteAttachment(c.mirror.At, a.tag, a.Digest, refusal)
	}
}

// alone returns a copying of its own for one attachment: nothing waits for a blob that another attachment failed to bring.
func (c *Copying) alone() *Copying {
	return &Copying{
		delivery: newDelivery(c.source, c.mirror, c.namespace, c.limits.BlobsPerCopy, c.tally),
		tag:      c.tag, limits: c.limits, listing: c.listing, indexes: c.indexes, onlyNew: c.onlyNew, size: c.size,
	}
}

// attach puts what is attached, its tags once all of it is there, and notes in the mirror's index what the mirror does not note
// by itself (distribution-spec, "Pushing Manifests with Subject").
func (c *Copying) attach(ctx context.Context, image digest.Digest, found []attachment) error {
	roots := make([]*manifest.Node, 0, len(found))
	for _, attached := range found {
		c.mirror.Placements.ForgetAttachment(c.mirror.At, attached.tag, attached.Digest)
		if !slices.Contains(roots, attached.Node) {
			roots = append(roots, attached.Node)
		}
	}
	count, err := c.countNew(ctx, found)
	if err != nil {
		return err
	}
	if err := c.below(ctx, roots...); err != nil {
		return err
	}
	if err := c.arrived(ctx, roots); err != nil {
		return err
	}
	for _, attached := range found {
		if attached.tag == "" {
			continue
		}
		written, err := c.mirror.PutAttachment(ctx, attached.Node, attached.tag)
		if err != nil {
			return err
		}
		if written || !c.onlyNew {
			count++
		}
	}
	unlisted := slices.DeleteFunc(roots, func(n *manifest.Node) bool { return c.manifests.of(n.Digest).noted || n.Body.Subject == nil })
	if err := c.mirror.AddReferrers(ctx, image, unlisted); err != nil {
		return err
	}
	c.noteAttachments(found, nil)
	c.tally.attached(count)
	return nil
}

// countNew counts the attachments without a tag that the mirror does not have; all of them in a copy of the image.
func (c *Copying) countNew(ctx context.Context, found []attachment) (count int, err error) {
	for _, attached := range found {
		if attached.tag != "" {
			continue
		}
		held := ""
		if c.onlyNew {
			if held, err = c.mirror.Holds(ctx, attached.Digest.String()); err != nil {
				return 0, err
			}
		}
		if held == "" {
			count++
		}
	}
	return count, nil
}
