package copier

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"
)

// lookups returns the three places where attachments are: under the two tags of cosign, and in the registry's list of what names the
// image as its subject or, where it keeps no such lists, in an index that has a tag.
func (c *Copying) lookups(image digest.Digest) []func(context.Context) ([]attachment, error) {
	lookups := make([]func(context.Context) ([]attachment, error), 0, len(manifest.CosignSuffixes)+1)
	for _, suffix := range manifest.CosignSuffixes {
		lookups = append(lookups, func(ctx context.Context) ([]attachment, error) {
			return c.tagged(ctx, manifest.ReferrersTag(image)+suffix)
		})
	}
	return append(lookups, func(ctx context.Context) ([]attachment, error) { return c.naming(ctx, image) })
}

// once leaves out what was found before under another name. What has two tags is one manifest.
func once(found []attachment) []attachment {
	seen := map[digest.Digest]*manifest.Node{}
	var all []attachment
	for _, attached := range found {
		known := seen[attached.Digest]
		switch {
		case known == nil:
			seen[attached.Digest] = attached.Node
		case attached.tag == "":
			continue
		default:
			attached.Node = known
		}
		all = append(all, attached)
	}
	return all
}

// tagged is what has the tag. What is at the mirror is not read, and left out.
func (c *Copying) tagged(ctx context.Context, tag string) ([]attachment, error) {
	if c.onlyNew {
		found, err := c.source.LookForDigest(ctx, c.source.At.Tagged(tag), remote.IsAbsent)
		if err != nil || found == "" {
			return nil, err
		}
		if known, isKnown := c.known(tag, digest.Digest(found)); isKnown {
			return known, nil
		}
		held, err := c.mirror.Holds(ctx, tag)
		if err != nil {
			return nil, err
		}
		if held == found {
			c.mirror.Placements.NoteAttachment(c.mirror.At, tag, digest.Digest(found), nil)
			return nil, nil
		}
	}
	content, found, err := c.source.Look(ctx, c.source.At.Tagged(tag), remote.IsAbsent)
	if err != nil || content == nil {
		return nil, err
	}
	_, err = manifest.ParseManifest(content)
	if err = cmp.Or(err, c.manifestRoom.Take(int64(len(content)))); err != nil {
		return nil, c.source.Explain(err)
	}
	return []attachment{{tag: tag, Node: &manifest.Node{Descriptor: manifest.Descriptor{Digest: found}, Content: content}}}, nil
}

// naming is what names the image as its subject: what the registry lists or, where it has no list, what the index has.
func (c *Copying) naming(ctx context.Context, image digest.Digest) ([]attachment, error) {
	listed, err := c.listing.Of(ctx, c.source, image)
	if errors.Is(err, remote.ErrNoList) {
		return c.indexed(ctx, image)
	}
	if err != nil {
		return nil, err
	}
	return c.fetched(ctx, listed)
}

// indexed is what the index names that takes the place of the list (distribution-spec, "Referrers Tag Schema"). There are
// registries that have something else under such a tag, such as the image itself.
func (c *Copying) indexed(ctx context.Context, image digest.Digest) ([]attachment, error) {
	content, found, err := c.source.Look(ctx, c.source.At.Tagged(manifest.ReferrersTag(image)), remote.IsAbsent)
	if err != nil || content == nil || found == image {
		return nil, err
	}
	listed, err := manifest.ParseReferrers(content)
	if errors.Is(err, manifest.ErrNoManifest) {
		return nil, nil
	}
	if err != nil {
		return nil, c.source.Explain(err)
	}
	return c.fetched(ctx, listed)
}

// fetched are the manifests that a list names. What was deleted may still be in there.
func (c *Copying) fetched(ctx context.Context, listed []manifest.Descriptor) ([]attachment, error) {
	var nodes []*manifest.Node
	var found []attachment
	for _, one := range listed {
		if known, isKnown := c.known("", one.Digest); c.onlyNew && isKnown {
			found = append(found, known...)
			continue
		}
		nodes = append(nodes, &manifest.Node{Descriptor: one})
	}
	var large sync.Mutex
	err := eachNode(ctx, nodes, func(ctx context.Context, n *manifest.Node) error {
		return c.readReferrer(ctx, n, &large)
	})
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.Content != nil {
			found = append(found, attachment{Node: n})
		}
	}
	return found, nil
}

// known returns nothing for an attachment that is known to be at the mirror, and why it is refused for one that is.
func (c *Copying) known(tag string, of digest.Digest) (known []attachment, isKnown bool) {
	refusal, isKnown := c.mirror.Placements.Attachment(c.mirror.At, tag, of)
	if refusal != nil {
		known = []attachment{{tag: tag, refusal: refusal}}
	}
	return known, isKnown
}

// smallReferrer is the largest referrer, in bytes, that is read beside others.
const smallReferrer = 64 << 10

// readReferrer reads the content of a referrer, and leaves it nil where the source does not have it. The size in the list does not
// count, since several registries get it wrong: the digest decides. Large referrers are read one at a time, which bounds the memory.
func (c *Copying) readReferrer(ctx context.Context, n *manifest.Node, large *sync.Mutex) error {
	content, err := c.source.Manifest(ctx, n.Digest, smallReferrer)
	if errors.Is(err, manifest.ErrWrongSize) {
		large.Lock()
		defer large.Unlock()
		content, err = c.source.Manifest(ctx, n.Digest, manifest.MaxManifest)
	}
	if remote.IsGone(err) {
		return nil
	}
	if err == nil {
		if err = c.manifestRoom.Take(int64(len(content))); err != nil {
			return c.source.Explain(err)
		}
	}
	n.Content, n.Size = content, int64(len(content))
	return regerr.WithText(err, "; this is about the manifest "+n.Digest.String())
}
