package registry

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
)

const (
	// manifestsAtOnce is how many are read at a time.
	manifestsAtOnce = 16
)

// tree is one image, or several, with all manifests.
type tree struct {
	source source
	// limit is how large it may be, in bytes.
	limit int64
	room  *manifestRoom
	nodes map[digest.Digest]*node
	// ordered are the same, from the roots down.
	ordered []*node
	blobs   map[digest.Digest]bool
	// size is that of manifests and blobs, each counted once, and of what was copied before.
	size int64
}

func (c *copying) newTree() *tree {
	return &tree{
		source: c.source, limit: c.limits.MaxImageSize, room: &c.manifestRoom,
		nodes: map[digest.Digest]*node{}, blobs: map[digest.Digest]bool{}, size: *c.size,
	}
}

// add reads all manifests below the roots, whose own contents are there, and have their room: one level after the other, and what is on
// one level at once.
func (t *tree) add(ctx context.Context, roots ...*node) error {
	for _, root := range roots {
		t.nodes[root.Digest] = root
	}
	for level, depth := roots, 0; len(level) > 0; depth++ {
		next, err := t.grow(level, depth)
		if err != nil {
			return t.source.explain(err)
		}
		if err := t.fetch(ctx, next); err != nil {
			return err
		}
		level = next
	}
	return nil
}

// grow reads what the nodes of a level name, and is the nodes of the next one, still without content.
func (t *tree) grow(level []*node, depth int) ([]*node, error) {
	var next []*node
	t.ordered = append(t.ordered, level...)
	for _, parent := range level {
		if err := parent.parse(); err != nil {
			return nil, err
		}
		if err := t.count(parent); err != nil {
			return nil, err
		}
		if len(parent.body.Children) > 0 && depth >= maxNesting {
			return nil, errTooDeep
		}
		for _, child := range parent.body.Children {
			known := t.nodes[child.Digest]
			if known == nil {
				known = &node{descriptor: child}
				t.nodes[child.Digest] = known
				next = append(next, known)
			}
			parent.children = append(parent.children, known)
		}
	}
	return next, t.hasRoom(next)
}

// count adds the blobs that a node names to the size.
func (t *tree) count(n *node) error {
	for _, blob := range n.blobs {
		if t.blobs[blob.Digest] {
			continue
		}
		if len(t.blobs) == maxBlobs {
			return errTooManyBlobs
		}
		t.blobs[blob.Digest] = true
		if err := t.enlarge(blob.Size); err != nil {
			return err
		}
	}
	return t.enlarge(int64(len(n.content)))
}

func (t *tree) enlarge(by int64) error {
	if by > t.limit-t.size {
		return regerr.New(v1.ReasonInvalidContent, nil,
			"%s: the image is larger than the %s that an image may have here; the administrator can allow more with --mirror-max-image-size", t.source.at.text, inMiB(t.limit))
	}
	t.size += by
	return nil
}

// hasRoom says whether manifests may be read, by what their index says of them.
func (t *tree) hasRoom(nodes []*node) error {
	if len(t.nodes) > maxManifests {
		return errTooManyManifests
	}
	for _, n := range nodes {
		if err := t.room.take(n.Size); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) fetch(ctx context.Context, nodes []*node) error {
	return eachNode(ctx, nodes, t.read)
}

func eachNode(ctx context.Context, nodes []*node, do func(context.Context, *node) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(manifestsAtOnce)
	for _, n := range nodes {
		group.Go(func() error { return do(ctx, n) })
	}
	return group.Wait()
}

// read reads a manifest. Its errors name it, for the rest of their text is about the image.
func (t *tree) read(ctx context.Context, n *node) error {
	content, err := t.source.manifest(ctx, n.Digest, min(n.Size, maxManifest))
	if err == nil && int64(len(content)) != n.Size {
		err = t.source.explain(errWrongSize)
	}
	if err != nil {
		return regerr.WithText(err, "; this is about the manifest "+n.Digest.String())
	}
	n.content = content
	return nil
}

func inMiB(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
