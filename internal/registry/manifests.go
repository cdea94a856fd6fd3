package registry

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/copier"
)

// ListManifests are the digests of all manifests that a repository has of images, level by level: theirs, those of the manifests that
// they name, and so on, each once. What is not there is left out, unless it is known what it named. It takes one GET for each
// that is not known.
//
// The error is an *regerr.Error, MirrorUnavailable; or ctx's own.
func (c *Client) ListManifests(ctx context.Context, dst Destination, images ...string) (levels [][]string, err error) {
	mirror, err := c.mirror(dst)
	if err != nil {
		return nil, err
	}
	visit := copier.ManifestWalker{Mirror: mirror, Children: c.children, Seen: map[digest.Digest]bool{}}
	level := make([]digest.Digest, len(images))
	for i, image := range images {
		level[i] = digest.Digest(image)
	}
	for level = visit.Unseen(level); len(level) > 0; {
		held, below, err := visit.Read(ctx, level)
		if err != nil {
			return nil, mirror.Fault(err)
		}
		if len(held) > 0 {
			levels = append(levels, held)
		}
		level = visit.Unseen(below)
	}
	return levels, nil
}
