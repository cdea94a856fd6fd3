package registry

import (
	"context"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
)

// copying is one copy, from one source as one identity.
type copying struct {
	*delivery
	tag     string
	limits  CopyLimits
	listing *listing
	indexes *indexes
	// size is how large all is that was copied so far, in bytes.
	size *int64
	// onlyNew: attachments that are known to be at the mirror are left out.
	onlyNew bool
	// isReader: the identity is known to be let into the source.
	isReader bool

	manifestRoom manifestRoom
}

// copyingOptions say what is copied, and with what.
type copyingOptions struct {
	// namespace is that of the Tag.
	namespace string
	// tag is the generation, as a decimal.
	tag     string
	limits  CopyLimits
	listing *listing
	indexes *indexes
	tally   *tally
}

// newCopying prepares a copy.
func newCopying(from source, to mirror, options copyingOptions) *copying {
	return &copying{
		delivery: newDelivery(from, to, options.namespace, options.limits.BlobsPerCopy, options.tally),
		tag:      options.tag,
		limits:   options.limits,
		listing:  options.listing,
		indexes:  options.indexes,
		size:     new(int64(0)),
	}
}

// run copies everything but the image's own manifest, and then that: there is nothing under the tag before all of it is there.
func (c *copying) run(ctx context.Context) error {
	image := &node{descriptor: descriptor{Digest: c.source.at.digest}, isLast: true}
	attached := attachmentSet{required: !c.limits.BestEffort}
	group, working := errgroup.WithContext(ctx)
	group.Go(func() error { return c.mirror.greet(working) })
	group.Go(func() (err error) {
		if image.content, err = c.source.manifest(working, image.Digest, maxManifest); err != nil {
			return err
		}
		if err := c.manifestRoom.take(int64(len(image.content))); err != nil {
			return c.source.explain(err)
		}
		if c.limits.Attachments {
			group.Go(func() error { return attached.discover(working, c, image.Digest) })
		}
		return c.below(working, image)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := attached.copy(ctx, c, image.Digest); err != nil {
		return err
	}
	return c.publish(ctx, image)
}

// runAttachments copies what is attached and not known to be at the mirror. An identity that is not let in would find nothing.
func (c *copying) runAttachments(ctx context.Context) error {
	image := c.source.at.digest
	if !c.isReader {
		err := c.source.patiently(ctx, func(ctx context.Context, with requester) error {
			_, err := with.digest(ctx, c.source.at.child(image))
			return err
		})
		if err != nil {
			return err
		}
	}
	c.onlyNew = true
	var attached attachmentSet
	if err := attached.discover(ctx, c, image); err != nil {
		return err
	}
	return attached.copy(ctx, c, image)
}

// below copies what the manifests name, and those that name them but are named themselves.
func (c *copying) below(ctx context.Context, roots ...*node) error {
	whole := c.newTree()
	if err := whole.add(ctx, roots...); err != nil {
		return err
	}
	*c.size = whole.size
	c.remember(whole)
	return c.bring(ctx, whole)
}

// remember notes what indexes name before any of it is at the mirror.
func (c *copying) remember(whole *tree) {
	for _, n := range whole.ordered {
		if len(n.body.Children) > 0 {
			c.indexes.note(n.Digest, digestsOf(n.body.Children))
		}
	}
}

// publish puts the image under its tag, and sees that it is there. A registry tells the sha256 digest of a tag, whatever the image's
// is; another one has to be asked for itself.
func (c *copying) publish(ctx context.Context, image *node) error {
	stored := c.tag
	if image.Digest.Algorithm() != digest.Canonical {
		stored = image.Digest.String()
		if _, err := c.mirror.put(ctx, image, stored); err != nil {
			return err
		}
	}
	if err := c.mirror.putTag(ctx, image, c.tag); err != nil {
		return err
	}
	held, err := c.mirror.holds(ctx, stored)
	if err != nil {
		return err
	}
	if held != image.Digest.String() {
		return regerr.New(v1.ReasonMirrorUnavailable, nil, "%s: it took the image, and has %q under %s; Tagger tries again", c.mirror.at.text, held, stored)
	}
	return nil
}
