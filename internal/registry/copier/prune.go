package copier

import (
	"context"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/remote"
)

// maxCachedManifests bounds of how many manifests it is remembered what they name.
const maxCachedManifests = 4096

// ChildCache remember the digests of the manifests that a manifest names, which never change: those of what was copied, too, so that it
// is known what a copy that did not end has left.
type ChildCache struct{ known *lru.Cache }

// NewChildCache returns an empty cache.
func NewChildCache() *ChildCache { return &ChildCache{known: lru.New(maxCachedManifests)} }

func (i *ChildCache) add(dgst digest.Digest, named []digest.Digest) { i.known.Add(dgst, named) }

func (i *ChildCache) get(dgst digest.Digest) (get []digest.Digest, isKnown bool) {
	known, isKnown := i.known.Get(dgst)
	get, _ = known.([]digest.Digest)
	return get, isKnown
}

// ManifestWalker visits manifests that a mirror has, each once.
type ManifestWalker struct {
	Mirror   remote.Mirror
	Children *ChildCache
	Seen     map[digest.Digest]bool
}

// Unseen returns the manifests that were not visited before.
func (h *ManifestWalker) Unseen(named []digest.Digest) (level []digest.Digest) {
	for _, one := range named {
		if !h.Seen[one] {
			h.Seen[one] = true
			level = append(level, one)
		}
	}
	return level
}

// Read returns the manifests of a level that exist, and those that they name.
func (h *ManifestWalker) Read(ctx context.Context, level []digest.Digest) (held []string, below []digest.Digest, err error) {
	named := make([][]digest.Digest, len(level))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(manifestsAtOnce)
	for i, one := range level {
		group.Go(func() (err error) {
			named[i], err = h.childrenOf(reading, one)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for i, one := range level {
		if named[i] != nil {
			held, below = append(held, one.String()), append(below, named[i]...)
		}
	}
	return held, below, nil
}

// childrenOf returns what a manifest names, nil where it is not there. The manifest itself is not kept: together they might be large.
func (h *ManifestWalker) childrenOf(ctx context.Context, dgst digest.Digest) (named []digest.Digest, err error) {
	if named, isKnown := h.Children.get(dgst); isKnown {
		return named, nil
	}
	var content []byte
	err = h.Mirror.DoLimited(ctx, func(ctx context.Context, requester remote.Requester) error {
		content, _, err = requester.Fetch(ctx, h.Mirror.Endpoint.WithDigest(dgst))
		return err
	})
	if remote.IsGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if named, err = manifest.Children(content); err != nil {
		return nil, h.Mirror.Describe(err)
	}
	h.Children.add(dgst, named)
	return named, nil
}
