package registry

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/regerr"
)

// lookups returns the three places where attachments are: under the two tags of cosign, and in the registry's list of what names the
// image as its subject or, where it keeps no such lists, in an index that has a tag.
func (c *copying) lookups(image digest.Digest) []func(context.Context) ([]attachment, error) {
	lookups := make([]func(context.Context) ([]attachment, error), 0, len(cosignSuffixes)+1)
	for _, suffix := range cosignSuffixes {
		lookups = append(lookups, func(ctx context.Context) ([]attachment, error) { return c.tagged(ctx, referrersTag(image)+suffix) })
	}
	return append(lookups, func(ctx context.Context) ([]attachment, error) { return c.naming(ctx, image) })
}

// once leaves out what was found before under another name. What has two tags is one manifest.
func once(found []attachment) []attachment {
	seen := map[digest.Digest]*node{}
	var all []attachment
	for _, attached := range found {
		known := seen[attached.Digest]
		switch {
		case known == nil:
			seen[attached.Digest] = attached.node
		case attached.tag == "":
			continue
		default:
			attached.node = known
		}
		all = append(all, attached)
	}
	return all
}

// tagged is what has the tag. What is at the mirror is not read, and left out.
func (c *copying) tagged(ctx context.Context, tag string) ([]attachment, error) {
	if c.onlyNew {
		found, err := c.source.lookForDigest(ctx, c.source.at.tagged(tag), isAbsent)
		if err != nil || found == "" {
			return nil, err
		}
		if known, isKnown := c.known(tag, digest.Digest(found)); isKnown {
			return known, nil
		}
		held, err := c.mirror.holds(ctx, tag)
		if err != nil {
			return nil, err
		}
		if held == found {
			c.mirror.placements.noteAttachment(c.mirror.at, tag, digest.Digest(found), nil)
			return nil, nil
		}
	}
	content, found, err := c.source.look(ctx, c.source.at.tagged(tag), isAbsent)
	if err != nil || content == nil {
		return nil, err
	}
	_, err = parseManifest(content)
	if err = cmp.Or(err, c.manifestRoom.take(int64(len(content)))); err != nil {
		return nil, c.source.explain(err)
	}
	return []attachment{{tag: tag, node: &node{descriptor: descriptor{Digest: found}, content: content}}}, nil
}

// naming is what names the image as its subject: what the registry lists or, where it has no list, what the index has.
func (c *copying) naming(ctx context.Context, image digest.Digest) ([]attachment, error) {
	listed, err := c.listing.of(ctx, c.source, image)
	if errors.Is(err, errNoList) {
		return c.indexed(ctx, image)
	}
	if err != nil {
		return nil, err
	}
	return c.fetched(ctx, listed)
}

// indexed is what the index names that takes the place of the list (distribution-spec, "Referrers Tag Schema"). There are
// registries that have something else under such a tag, such as the image itself.
func (c *copying) indexed(ctx context.Context, image digest.Digest) ([]attachment, error) {
	content, found, err := c.source.look(ctx, c.source.at.tagged(referrersTag(image)), isAbsent)
	if err != nil || content == nil || found == image {
		return nil, err
	}
	listed, err := parseReferrers(content)
	if errors.Is(err, errNoManifest) {
		return nil, nil
	}
	if err != nil {
		return nil, c.source.explain(err)
	}
	return c.fetched(ctx, listed)
}

// fetched are the manifests that a list names. What was deleted may still be in there.
func (c *copying) fetched(ctx context.Context, listed []descriptor) ([]attachment, error) {
	var nodes []*node
	var found []attachment
	for _, one := range listed {
		if known, isKnown := c.known("", one.Digest); c.onlyNew && isKnown {
			found = append(found, known...)
			continue
		}
		nodes = append(nodes, &node{descriptor: one})
	}
	var large sync.Mutex
	err := eachNode(ctx, nodes, func(ctx context.Context, n *node) error {
		return c.readReferrer(ctx, n, &large)
	})
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.content != nil {
			found = append(found, attachment{node: n})
		}
	}
	return found, nil
}

// known returns nothing for an attachment that is known to be at the mirror, and why it is refused for one that is.
func (c *copying) known(tag string, of digest.Digest) (known []attachment, isKnown bool) {
	refusal, isKnown := c.mirror.placements.attachment(c.mirror.at, tag, of)
	if refusal != nil {
		known = []attachment{{tag: tag, refusal: refusal}}
	}
	return known, isKnown
}

// smallReferrer is the largest referrer, in bytes, that is read beside others.
const smallReferrer = 64 << 10

// readReferrer reads the content of a referrer, and leaves it nil where the source does not have it. The size in the list does not
// count, since several registries get it wrong: the digest decides. Large referrers are read one at a time, which bounds the memory.
func (c *copying) readReferrer(ctx context.Context, n *node, large *sync.Mutex) error {
	content, err := c.source.manifest(ctx, n.Digest, smallReferrer)
	if errors.Is(err, errWrongSize) {
		large.Lock()
		defer large.Unlock()
		content, err = c.source.manifest(ctx, n.Digest, maxManifest)
	}
	if isGone(err) {
		return nil
	}
	if err == nil {
		if err = c.manifestRoom.take(int64(len(content))); err != nil {
			return c.source.explain(err)
		}
	}
	n.content, n.Size = content, int64(len(content))
	return regerr.WithText(err, "; this is about the manifest "+n.Digest.String())
}
