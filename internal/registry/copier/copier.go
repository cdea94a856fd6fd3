package copier

import (
	"context"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"

	v1 "github.com/images-io/tagger/api/v1"
)

// Copying is one copy, from one source as one identity.
type Copying struct {
	*delivery
	tag     string
	limits  CopyLimits
	listing *remote.Listing
	indexes *Indexes
	// size is how large all is that was copied so far, in bytes.
	size *int64
	// onlyNew: attachments that are known to be at the mirror are left out.
	onlyNew bool
	// IsReader: the identity is known to be let into the source.
	IsReader bool

	manifestRoom manifest.ManifestRoom
}

// CopyingOptions say what is copied, and with what.
type CopyingOptions struct {
	// Namespace is that of the Tag.
	Namespace string
	// Tag is the generation, as a decimal.
	Tag     string
	Limits  CopyLimits
	Listing *remote.Listing
	Indexes *Indexes
	Tally   *Tally
}

// NewCopying prepares a copy.
func NewCopying(from remote.Source, to remote.Mirror, options CopyingOptions) *Copying {
	return &Copying{
		delivery: newDelivery(from, to, options.Namespace, options.Limits.BlobsPerCopy, options.Tally),
		tag:      options.Tag,
		limits:   options.Limits,
		listing:  options.Listing,
		indexes:  options.Indexes,
		size:     new(int64(0)),
	}
}

// Run copies everything but the image's own manifest, and then that: there is nothing under the tag before all of it is there.
func (c *Copying) Run(ctx context.Context) error {
	image := &manifest.Node{Descriptor: manifest.Descriptor{Digest: c.source.At.Digest}, IsLast: true}
	attached := attachmentSet{required: !c.limits.BestEffort}
	group, working := errgroup.WithContext(ctx)
	group.Go(func() error { return c.mirror.Greet(working) })
	group.Go(func() (err error) {
		if image.Content, err = c.source.Manifest(working, image.Digest, manifest.MaxManifest); err != nil {
			return err
		}
		if err := c.manifestRoom.Take(int64(len(image.Content))); err != nil {
			return c.source.Explain(err)
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

// RunAttachments copies what is attached and not known to be at the mirror. An identity that is not let in would find nothing.
func (c *Copying) RunAttachments(ctx context.Context) error {
	image := c.source.At.Digest
	if !c.IsReader {
		err := c.source.Patiently(ctx, func(ctx context.Context, with remote.Requester) error {
			_, err := with.Digest(ctx, c.source.At.Child(image))
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
func (c *Copying) below(ctx context.Context, roots ...*manifest.Node) error {
	whole := c.newTree()
	if err := whole.add(ctx, roots...); err != nil {
		return err
	}
	*c.size = whole.size
	c.remember(whole)
	return c.bring(ctx, whole)
}

// remember notes what indexes name before any of it is at the mirror.
func (c *Copying) remember(whole *tree) {
	for _, n := range whole.ordered {
		if len(n.Body.Children) > 0 {
			c.indexes.note(n.Digest, manifest.DigestsOf(n.Body.Children))
		}
	}
}

// publish puts the image under its tag, and sees that it is there. A registry tells the sha256 digest of a tag, whatever the image's
// is; another one has to be asked for itself.
func (c *Copying) publish(ctx context.Context, image *manifest.Node) error {
	stored := c.tag
	if image.Digest.Algorithm() != digest.Canonical {
		stored = image.Digest.String()
		if _, err := c.mirror.Put(ctx, image, stored); err != nil {
			return err
		}
	}
	if err := c.mirror.PutTag(ctx, image, c.tag); err != nil {
		return err
	}
	held, err := c.mirror.Holds(ctx, stored)
	if err != nil {
		return err
	}
	if held != image.Digest.String() {
		return regerr.New(v1.ReasonMirrorUnavailable, nil, "%s: it took the image, and has %q under %s; Tagger tries again", c.mirror.At.Text, held, stored)
	}
	return nil
}
