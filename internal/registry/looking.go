package registry

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// errNoList is what a registry answers that does not list what is attached to an image: to any, or to this one.
var errNoList = errors.New("the registry does not list what is attached to the image")

// lookForAttachments looks in the three places where they are, all at once: under the two tags of cosign, and in the registry's
// list of what names the image as its subject or, where it keeps no such lists, in an index that has a tag.
func (c *copying) lookForAttachments(ctx context.Context, image digest.Digest) ([]attachment, error) {
	lists, isKnown := c.listing.Get(c.source.at.address())
	switch {
	case !isKnown:
		return c.lookForTheFirstTime(ctx, image)
	case lists.(bool):
		return lookIn(ctx, append(c.under(image, cosignTags(image)), c.listed(image)))
	default:
		return lookIn(ctx, c.under(image, attachmentTags(image)))
	}
}

// lookForTheFirstTime does not know which three places there are before the list has been asked for. Where there is none, the
// registry's list of tags says at once which of the tags are worth a request, so that these are no more than three.
func (c *copying) lookForTheFirstTime(ctx context.Context, image digest.Digest) ([]attachment, error) {
	listed, err := c.list(ctx, image)
	tags := cosignTags(image)
	switch {
	case errors.Is(err, errNoList):
		tags = c.source.mayHave(ctx, attachmentTags(image))
	case err != nil:
		return nil, err
	}
	tagged, err := lookIn(ctx, c.under(image, tags))
	return append(tagged, listed...), err
}

// look looks in one place.
type look func(context.Context) ([]attachment, error)

// lookIn looks in all places at once.
func lookIn(ctx context.Context, looks []look) ([]attachment, error) {
	found := make([][]attachment, len(looks))
	group, ctx := errgroup.WithContext(ctx)
	for i, look := range looks {
		group.Go(func() (err error) {
			found[i], err = look(ctx)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

// under looks under tags.
func (c *copying) under(image digest.Digest, tags []string) []look {
	looks := make([]look, len(tags))
	for i, tag := range tags {
		what := c.tagged
		if tag == referrersTag(image) {
			what = c.indexed
		}
		looks[i] = func(ctx context.Context) ([]attachment, error) { return what(ctx, tag) }
	}
	return looks
}

// listed looks in the list, and in the index after all where this one is not to be had.
func (c *copying) listed(image digest.Digest) look {
	return func(ctx context.Context) ([]attachment, error) {
		found, err := c.list(ctx, image)
		if errors.Is(err, errNoList) {
			return c.indexed(ctx, referrersTag(image))
		}
		return found, err
	}
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

// tagged is what has the tag.
func (c *copying) tagged(ctx context.Context, tag string) ([]attachment, error) {
	content, found, err := c.source.look(ctx, c.source.at.tagged(tag), isAbsent)
	if err != nil || content == nil {
		return nil, err
	}
	if _, err := parseManifest(content); err != nil {
		return nil, c.source.explain(err)
	}
	return []attachment{{tag: tag, node: &node{descriptor: descriptor{Digest: found}, content: content}}}, nil
}

// list is what the registry lists as naming the image as its subject (distribution-spec, "Listing Referrers"), or errNoList.
func (c *copying) list(ctx context.Context, image digest.Digest) ([]attachment, error) {
	listed, err := c.source.referrers(ctx, image)
	switch {
	case err == nil:
		c.listing.Add(c.source.at.address(), true, answersHold)
		return c.naming(ctx, listed)
	case hasNoLists(err):
		c.listing.Add(c.source.at.address(), false, answersHold)
		return nil, errNoList
	case isAbsent(err), errors.Is(err, errNoManifest):
		return nil, errNoList
	default:
		return nil, err
	}
}

// indexed is what an index has that takes the place of the list (distribution-spec, "Referrers Tag Schema").
func (c *copying) indexed(ctx context.Context, tag string) ([]attachment, error) {
	content, _, err := c.source.look(ctx, c.source.at.tagged(tag), isAbsent)
	if err != nil || content == nil {
		return nil, err
	}
	listed, err := parseReferrers(content)
	if err != nil {
		return nil, c.source.explain(err)
	}
	return c.naming(ctx, listed)
}

// naming are the manifests that are listed. What was deleted may still be in a list.
func (c *copying) naming(ctx context.Context, listed []descriptor) ([]attachment, error) {
	nodes := make([]*node, len(listed))
	for i, one := range listed {
		nodes[i] = &node{descriptor: one}
	}
	fresh := newTree(c.source, c.limits.MaxImageSize)
	if err := fresh.hasRoom(nodes); err != nil {
		return nil, c.source.explain(err)
	}
	if err := fresh.fetchWhatIsThere(ctx, nodes); err != nil {
		return nil, err
	}
	found := make([]attachment, 0, len(nodes))
	for _, n := range nodes {
		if n.content != nil {
			found = append(found, attachment{node: n})
		}
	}
	return found, nil
}
