package copier

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"
)

// aboutReferrers says why it was asked.
const aboutReferrers = "; this is about what is attached to the image, such as signatures"

// referrer is a manifest that goes with an image.
type referrer struct {
	// node is nil where it is known that the attachment is refused.
	*manifest.Node
	// tag is what it is found by; empty for one that names the image as its subject.
	tag     string
	refusal error
}

// referrerSet is what is attached to an image.
type referrerSet struct {
	// required: the first error ends the copy. Otherwise errors are kept, and each attachment is copied by itself.
	required bool
	found    []referrer
	errors   []error
}

// discover looks in all ways at once. An error of one does not keep what the others find from being copied, unless all are required.
func (s *referrerSet) discover(ctx context.Context, c *Copier, image digest.Digest) error {
	lookups := c.lookups(image)
	found, failures := make([][]referrer, len(lookups)), make([]error, len(lookups))
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
	s.found = unique(s.found)
	return nil
}

// copy copies each attachment by itself, so that one that is refused keeps no other. It notes in the result which are missing.
func (s *referrerSet) copy(ctx context.Context, c *Copier, image digest.Digest) error {
	for len(s.found) > 0 {
		root := s.found[0].Node
		same := slices.DeleteFunc(slices.Clone(s.found), func(a referrer) bool { return a.Node != root })
		s.found = slices.DeleteFunc(s.found, func(a referrer) bool { return a.Node == root })
		err := c.forOneReferrer().copyReferrer(ctx, image, same)
		if isFinalForReferrer(err) {
			c.recordReferrers(same, err)
		}
		if err := s.add(ctx, err); err != nil {
			return err
		}
	}
	c.progress.setMissing(s.missing())
	return nil
}

// add keeps an error. It returns the error of a caller who gave up, and any where attachments are required.
func (s *referrerSet) add(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case s.required:
		return regerr.WithText(err, aboutReferrers)
	default:
		s.errors = append(s.errors, err)
		return nil
	}
}

// missing returns why attachments are missing, or may be; empty if none is.
func (s *referrerSet) missing() string {
	var texts []string
	for _, err := range s.errors {
		if text := err.Error(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return v1.Truncate(strings.Join(texts, "; "), v1.MaxReasonLength/2)
}

// isFinalForReferrer reports whether another try fares no better: a registry refuses the attachment, or it is not whole. A login may
// be corrected.
func isFinalForReferrer(err error) bool {
	if regerr.HasReason(err, v1.ReasonInvalidContent) {
		return true
	}
	return remote.IsAbsent(err) && !regerr.IsStatus(err, http.StatusUnauthorized, http.StatusForbidden)
}

// recordReferrers notes what became of attachments.
func (c *Copier) recordReferrers(attachments []referrer, refusal error) {
	for _, a := range attachments {
		c.mirror.Locations.RecordArtifact(c.mirror.Endpoint, a.tag, a.Digest, refusal)
	}
}

// forOneReferrer returns a copying of its own for one attachment: nothing waits for a blob that another attachment failed to bring.
func (c *Copier) forOneReferrer() *Copier {
	return &Copier{
		imageTransfer: newImageTransfer(c.source, c.mirror, c.namespace, c.limits.BlobsPerCopy, c.progress),
		tag:           c.tag, limits: c.limits, referrersSupport: c.referrersSupport, children: c.children, onlyNew: c.onlyNew, size: c.size,
	}
}

// copyReferrer puts what is attached, its tags once all of it is there, and notes in the mirror's index what the mirror does not note
// by itself (distribution-spec, "Pushing Manifests with Subject").
func (c *Copier) copyReferrer(ctx context.Context, image digest.Digest, found []referrer) error {
	roots := make([]*manifest.Node, 0, len(found))
	for _, attached := range found {
		c.mirror.Locations.ForgetArtifact(c.mirror.Endpoint, attached.tag, attached.Digest)
		if !slices.Contains(roots, attached.Node) {
			roots = append(roots, attached.Node)
		}
	}
	count, err := c.countNew(ctx, found)
	if err != nil {
		return err
	}
	if err := c.copyBelow(ctx, roots...); err != nil {
		return err
	}
	if err := c.awaitNodes(ctx, roots); err != nil {
		return err
	}
	for _, attached := range found {
		if attached.tag == "" {
			continue
		}
		written, err := c.mirror.PutTaggedArtifact(ctx, attached.Node, attached.tag)
		if err != nil {
			return err
		}
		if written || !c.onlyNew {
			count++
		}
	}
	unlisted := slices.DeleteFunc(roots, func(n *manifest.Node) bool { return c.manifests.of(n.Digest).listed || n.Body.Subject == nil })
	if err := c.mirror.UpdateReferrersIndex(ctx, image, unlisted); err != nil {
		return err
	}
	c.recordReferrers(found, nil)
	c.progress.referrersDone(count)
	return nil
}

// countNew counts the attachments without a tag that the mirror does not have; all of them in a copy of the image.
func (c *Copier) countNew(ctx context.Context, found []referrer) (count int, err error) {
	for _, attached := range found {
		if attached.tag != "" {
			continue
		}
		held := ""
		if c.onlyNew {
			if held, err = c.mirror.HeadManifest(ctx, attached.Digest.String()); err != nil {
				return 0, err
			}
		}
		if held == "" {
			count++
		}
	}
	return count, nil
}
