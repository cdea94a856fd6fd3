package registry

import (
	"context"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// aboutAttachments says why it was asked.
const aboutAttachments = "; this is about what is attached to the image, such as signatures"

// attachment is a manifest that goes with an image.
type attachment struct {
	*node
	// tag is what it is found by; empty for one that names the image as its subject.
	tag string
}

// attachments copies what is attached to an image. Its errors say that they are about that.
func (c *copying) attachments(ctx context.Context, image digest.Digest) error {
	found, err := c.lookForAttachments(ctx, image)
	if err == nil && len(found) > 0 {
		err = c.attach(ctx, image, found)
	}
	return adding(err, aboutAttachments)
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
		group.Go(func() error {
			return c.mirror.putTag(working, attached.node, attached.tag)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	c.tally.attached(len(found))
	return c.mirror.note(ctx, image, slices.DeleteFunc(roots, func(n *node) bool { return c.manifests.of(n.Digest).noted || n.body.Subject == nil }))
}

// note adds manifests to the index of those that are attached to an image. There are registries that have the image itself under
// its tag.
func (m mirror) note(ctx context.Context, image digest.Digest, attached []*node) error {
	if len(attached) == 0 {
		return nil
	}
	content, found, err := m.look(ctx, m.at.tagged(referrersTag(image)), isGone)
	if err != nil {
		return m.fault(err)
	}
	if found == image {
		content = nil
	}
	content, changed, err := withReferrers(content, attached)
	if err != nil {
		return m.fault(m.quotas.explain(err, m.at))
	}
	if !changed {
		return nil
	}
	_, err = m.put(ctx, &node{descriptor: descriptor{MediaType: types.OCIImageIndex}, content: content}, referrersTag(image))
	return err
}
