package copier

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"
)

// graph is one image, or several, with all manifests.
type graph struct {
	source remote.Source
	// limit is how large it may be, in bytes.
	limit  int64
	budget *manifest.Budget
	nodes  map[digest.Digest]*manifest.Node
	// ordered are the same, from the roots down.
	ordered []*manifest.Node
	blobs   map[digest.Digest]bool
	// size is that of manifests and blobs, each counted once, and of what was copied before.
	size int64
}

// load reads all manifests below the roots, whose own contents are there, and have their room: one level after the other, and what is on
// one level at once.
func (t *graph) load(ctx context.Context, roots ...*manifest.Node) error {
	for _, root := range roots {
		t.nodes[root.Digest] = root
	}
	for level, depth := roots, 0; len(level) > 0; depth++ {
		next, err := t.expand(level, depth)
		if err != nil {
			return t.source.Describe(err)
		}
		if err := t.fetch(ctx, next); err != nil {
			return err
		}
		level = next
	}
	return nil
}

// expand reads what the nodes of a level name, and is the nodes of the next one, still without content.
func (t *graph) expand(level []*manifest.Node, depth int) ([]*manifest.Node, error) {
	var next []*manifest.Node
	t.ordered = append(t.ordered, level...)
	for _, parent := range level {
		if err := parent.Parse(); err != nil {
			return nil, err
		}
		if err := t.count(parent); err != nil {
			return nil, err
		}
		if len(parent.Body.Children) > 0 && depth >= manifest.MaxNesting {
			return nil, manifest.ErrTooDeep
		}
		for _, child := range parent.Body.Children {
			known := t.nodes[child.Digest]
			if known == nil {
				known = &manifest.Node{Descriptor: child}
				t.nodes[child.Digest] = known
				next = append(next, known)
			}
			parent.Children = append(parent.Children, known)
		}
	}
	return next, t.hasRoom(next)
}

// count adds the blobs that a node names to the size.
func (t *graph) count(n *manifest.Node) error {
	for _, blob := range n.Blobs {
		if t.blobs[blob.Digest] {
			continue
		}
		if len(t.blobs) == manifest.MaxBlobs {
			return manifest.ErrTooManyBlobs
		}
		t.blobs[blob.Digest] = true
		if err := t.addSize(blob.Size); err != nil {
			return err
		}
	}
	return t.addSize(int64(len(n.Content)))
}

func (t *graph) addSize(by int64) error {
	if by > t.limit-t.size {
		return regerr.New(v1.ReasonInvalidContent, nil,
			"%s: the image is larger than the %s that an image may have here; the administrator can allow more with --mirror-max-image-size", t.source.Endpoint.Text, inMiB(t.limit))
	}
	t.size += by
	return nil
}

// hasRoom says whether manifests may be read, by what their index says of them.
func (t *graph) hasRoom(nodes []*manifest.Node) error {
	if len(t.nodes) > manifest.MaxManifests {
		return manifest.ErrTooManyManifests
	}
	for _, n := range nodes {
		if err := t.budget.Take(n.Size); err != nil {
			return err
		}
	}
	return nil
}

func (t *graph) fetch(ctx context.Context, nodes []*manifest.Node) error {
	return eachNode(ctx, nodes, t.read)
}

func eachNode(ctx context.Context, nodes []*manifest.Node, do func(context.Context, *manifest.Node) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(manifestsAtOnce)
	for _, n := range nodes {
		group.Go(func() error { return do(ctx, n) })
	}
	return group.Wait()
}

// read reads a manifest. Its errors name it, for the rest of their text is about the image.
func (t *graph) read(ctx context.Context, n *manifest.Node) error {
	content, err := t.source.Manifest(ctx, n.Digest, min(n.Size, manifest.MaxSize))
	if err == nil && int64(len(content)) != n.Size {
		err = t.source.Describe(manifest.ErrWrongSize)
	}
	if err != nil {
		return regerr.WithText(err, "; this is about the manifest "+n.Digest.String())
	}
	n.Content = content
	return nil
}

func inMiB(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
