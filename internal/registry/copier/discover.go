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

// lookups returns the three ways to find referrers: the two tags of cosign, and the registry's list of referrers or, where it does not
// keep such lists, an index that has a tag.
func (c *Copier) lookups(image digest.Digest) []func(context.Context) ([]referrer, error) {
	lookups := make([]func(context.Context) ([]referrer, error), 0, len(manifest.CosignSuffixes)+1)
	for _, suffix := range manifest.CosignSuffixes {
		lookups = append(lookups, func(ctx context.Context) ([]referrer, error) {
			return c.byCosignTag(ctx, manifest.ReferrersTag(image)+suffix)
		})
	}
	return append(lookups, func(ctx context.Context) ([]referrer, error) { return c.byReferrersAPI(ctx, image) })
}

// unique leaves out what was found before under another name. What has two tags is one manifest.
func unique(found []referrer) []referrer {
	seen := map[digest.Digest]*manifest.Node{}
	var all []referrer
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

// byCosignTag returns the referrer that has the tag. If only new ones are copied, it leaves out one that the mirror has.
func (c *Copier) byCosignTag(ctx context.Context, tag string) ([]referrer, error) {
	if c.onlyNew {
		found, err := c.source.DigestOptional(ctx, c.source.Endpoint.WithTag(tag), remote.IsAbsent)
		if err != nil || found == "" {
			return nil, err
		}
		if known, isKnown := c.knownReferrer(tag, digest.Digest(found)); isKnown {
			return known, nil
		}
		held, err := c.mirror.HeadManifest(ctx, tag)
		if err != nil {
			return nil, err
		}
		if held == found {
			c.mirror.Locations.RecordArtifact(c.mirror.Endpoint, tag, digest.Digest(found), nil)
			return nil, nil
		}
	}
	content, found, err := c.source.FetchOptional(ctx, c.source.Endpoint.WithTag(tag), remote.IsAbsent)
	if err != nil || content == nil {
		return nil, err
	}
	_, err = manifest.ParseHeader(content)
	if err = cmp.Or(err, c.budget.Take(int64(len(content)))); err != nil {
		return nil, c.source.Describe(err)
	}
	return []referrer{{tag: tag, Node: &manifest.Node{Descriptor: manifest.Descriptor{Digest: found}, Content: content}}}, nil
}

// byReferrersAPI returns what names the image as its subject: what the registry lists or, where it has no list, what the index has.
func (c *Copier) byReferrersAPI(ctx context.Context, image digest.Digest) ([]referrer, error) {
	listed, err := c.referrersSupport.List(ctx, c.source, image)
	if errors.Is(err, remote.ErrNoList) {
		return c.byReferrersTag(ctx, image)
	}
	if err != nil {
		return nil, err
	}
	return c.fetchReferrers(ctx, listed)
}

// byReferrersTag returns what the index names that takes the place of the list (distribution-spec, "Referrers Tag Schema"). There are
// registries that have something else under such a tag, such as the image itself.
func (c *Copier) byReferrersTag(ctx context.Context, image digest.Digest) ([]referrer, error) {
	content, found, err := c.source.FetchOptional(ctx, c.source.Endpoint.WithTag(manifest.ReferrersTag(image)), remote.IsAbsent)
	if err != nil || content == nil || found == image {
		return nil, err
	}
	listed, err := manifest.ParseReferrers(content)
	if errors.Is(err, manifest.ErrNoManifest) {
		return nil, nil
	}
	if err != nil {
		return nil, c.source.Describe(err)
	}
	return c.fetchReferrers(ctx, listed)
}

// fetchReferrers returns the manifests that a list names. What was deleted may still be in there.
func (c *Copier) fetchReferrers(ctx context.Context, listed []manifest.Descriptor) ([]referrer, error) {
	var nodes []*manifest.Node
	var found []referrer
	for _, one := range listed {
		if known, isKnown := c.knownReferrer("", one.Digest); c.onlyNew && isKnown {
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
			found = append(found, referrer{Node: n})
		}
	}
	return found, nil
}

// knownReferrer returns nothing for an attachment that is known to be at the mirror, and why it is refused for one that is.
func (c *Copier) knownReferrer(tag string, dgst digest.Digest) (knownReferrer []referrer, isKnown bool) {
	refusal, isKnown := c.mirror.Locations.Artifact(c.mirror.Endpoint, tag, dgst)
	if refusal != nil {
		knownReferrer = []referrer{{tag: tag, refusal: refusal}}
	}
	return knownReferrer, isKnown
}

// smallReferrer is the largest referrer, in bytes, that is read beside others.
const smallReferrer = 64 << 10

// readReferrer reads the content of a referrer, and leaves it nil where the source does not have it. The size in the list does not
// count, since several registries get it wrong: the digest decides. Large referrers are read one at a time, which bounds the memory.
func (c *Copier) readReferrer(ctx context.Context, n *manifest.Node, large *sync.Mutex) error {
	content, err := c.source.Manifest(ctx, n.Digest, smallReferrer)
	if errors.Is(err, manifest.ErrWrongSize) {
		large.Lock()
		defer large.Unlock()
		content, err = c.source.Manifest(ctx, n.Digest, manifest.MaxSize)
	}
	if remote.IsGone(err) {
		return nil
	}
	if err == nil {
		if err = c.budget.Take(int64(len(content))); err != nil {
			return c.source.Describe(err)
		}
	}
	n.Content, n.Size = content, int64(len(content))
	return regerr.WithText(err, "; this is about the manifest "+n.Digest.String())
}
