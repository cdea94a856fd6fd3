package registry

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// Manifests are the digests of all manifests that a repository has of images: theirs, and those of the manifests that they name,
// from the images down. What is not there is left out. It takes one GET for each.
//
// The error is an *Error, MirrorUnavailable; or ctx's own.
func (c *Client) Manifests(ctx context.Context, at Repository, images ...string) ([]string, error) {
	to, err := c.mirror(at)
	if err != nil {
		return nil, err
	}
	visit := holding{mirror: to, seen: map[digest.Digest]bool{}}
	for _, image := range images { // one after the other: together they might be large
		if err := visit.down(ctx, digest.Digest(image)); err != nil {
			return nil, to.fault(err)
		}
	}
	return visit.found, nil
}

// holding visits the manifests of images that a mirror has, each once.
type holding struct {
	mirror mirror
	seen   map[digest.Digest]bool
	found  []string
}

func (h *holding) down(ctx context.Context, image digest.Digest) error {
	level := h.unseen(descriptor{Digest: image})
	for len(level) > 0 {
		if err := eachNode(ctx, level, h.read); err != nil {
			return err
		}
		var next []*node
		for _, n := range level {
			if n.content == nil {
				continue
			}
			h.found = append(h.found, n.Digest.String())
			body, err := parseBody(n.content)
			if err != nil {
				return h.mirror.quotas.explain(err, h.mirror.at)
			}
			next = append(next, h.unseen(body.Children...)...)
		}
		level = next
	}
	return nil
}

func (h *holding) unseen(named ...descriptor) (nodes []*node) {
	for _, one := range named {
		if !h.seen[one.Digest] {
			h.seen[one.Digest] = true
			nodes = append(nodes, &node{descriptor: one})
		}
	}
	return nodes
}

// read leaves a manifest without content that is not there.
func (h *holding) read(ctx context.Context, n *node) (err error) {
	n.content, err = source{h.mirror.access}.manifest(ctx, n.Digest, maxManifest)
	if isGone(err) {
		return nil
	}
	return err
}
