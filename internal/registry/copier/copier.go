package copier

import (
	"context"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"
)

// Copier is one copy, from one source as one identity.
type Copier struct {
	*imageTransfer
	tag              string
	limits           Limits
	referrersSupport *remote.ReferrersSupport
	children         *ChildCache
	// size is how large all is that was copied so far, in bytes.
	size *int64
	// onlyNew: attachments that are known to be at the mirror are left out.
	onlyNew bool
	// IsReader: the identity is known to be let into the source.
	IsReader bool

	budget manifest.Budget
}

// Options say what is copied, and with what.
type Options struct {
	// Namespace is that of the Tag.
	Namespace string
	// Tag is the generation, as a decimal.
	Tag       string
	Limits    Limits
	Referrers *remote.ReferrersSupport
	Children  *ChildCache
	Progress  *Progress
}

// New prepares a copy.
func New(source remote.Source, mirror remote.Mirror, options Options) *Copier {
	return &Copier{
		imageTransfer:    newImageTransfer(source, mirror, options.Namespace, options.Limits.BlobsPerCopy, options.Progress),
		tag:              options.Tag,
		limits:           options.Limits,
		referrersSupport: options.Referrers,
		children:         options.Children,
		size:             new(int64(0)),
	}
}

// Run copies everything but the image's own manifest, and then that: there is nothing under the tag before all of it is there.
func (c *Copier) Run(ctx context.Context) error {
	image := &manifest.Node{Descriptor: manifest.Descriptor{Digest: c.source.Endpoint.Digest}, IsLast: true}
	attached := referrerSet{required: !c.limits.BestEffort}
	group, working := errgroup.WithContext(ctx)
	group.Go(func() error { return c.mirror.Ping(working) })
	group.Go(func() (err error) {
		if image.Content, err = c.source.Manifest(working, image.Digest, manifest.MaxSize); err != nil {
			return err
		}
		if err := c.budget.Take(int64(len(image.Content))); err != nil {
			return c.source.Describe(err)
		}
		if c.limits.Attachments {
			group.Go(func() error { return attached.discover(working, c, image.Digest) })
		}
		return c.copyBelow(working, image)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := attached.copy(ctx, c, image.Digest); err != nil {
		return err
	}
	return c.publish(ctx, image)
}

// RunReferrers copies what is attached and not known to be at the mirror. An identity that is not let in would find nothing.
func (c *Copier) RunReferrers(ctx context.Context) error {
	image := c.source.Endpoint.Digest
	if !c.IsReader {
		err := c.source.DoWaiting(ctx, func(ctx context.Context, requester remote.Requester) error {
			_, err := requester.Digest(ctx, c.source.Endpoint.WithDigest(image))
			return err
		})
		if err != nil {
			return err
		}
	}
	c.onlyNew = true
	var attached referrerSet
	if err := attached.discover(ctx, c, image); err != nil {
		return err
	}
	return attached.copy(ctx, c, image)
}

// copyBelow copies what the manifests name, and those that name them but are named themselves.
func (c *Copier) copyBelow(ctx context.Context, roots ...*manifest.Node) error {
	whole := c.newGraph()
	if err := whole.load(ctx, roots...); err != nil {
		return err
	}
	*c.size = whole.size
	c.recordChildren(whole)
	return c.copyNodes(ctx, whole)
}

// recordChildren notes what indexes name before any of it is at the mirror.
func (c *Copier) recordChildren(whole *graph) {
	for _, n := range whole.ordered {
		if len(n.Body.Children) > 0 {
			c.children.add(n.Digest, manifest.Digests(n.Body.Children))
		}
	}
}

// publish puts the image under its tag, and sees that it is there. A registry tells the sha256 digest of a tag, whatever the image's
// is; another one has to be asked for itself.
func (c *Copier) publish(ctx context.Context, image *manifest.Node) error {
	stored := c.tag
	if image.Digest.Algorithm() != digest.Canonical {
		stored = image.Digest.String()
		if _, err := c.mirror.PutManifest(ctx, image, stored); err != nil {
			return err
		}
	}
	if err := c.mirror.PutTag(ctx, image, c.tag); err != nil {
		return err
	}
	held, err := c.mirror.HeadManifest(ctx, stored)
	if err != nil {
		return err
	}
	if held != image.Digest.String() {
		return regerr.New(v1.ReasonMirrorUnavailable, nil, "%s: it took the image, and has %q under %s; Tagger tries again", c.mirror.Endpoint.Text, held, stored)
	}
	return nil
}

func (c *Copier) newGraph() *graph {
	return &graph{
		source: c.source, limit: c.limits.MaxImageSize, budget: &c.budget,
		nodes: map[digest.Digest]*manifest.Node{}, blobs: map[digest.Digest]bool{}, size: *c.size,
	}
}
