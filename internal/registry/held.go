package registry

import (
	"context"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/lru"
)

// maxNamed bounds of how many manifests it is remembered what they name.
const maxNamed = 4096

// indexes remember the digests of the manifests that a manifest names, which never change: those of what was copied, too, so that it
// is known what a copy that did not end has left.
type indexes struct{ known *lru.Cache }

func newIndexes() *indexes { return &indexes{known: lru.New(maxNamed)} }

func (i *indexes) note(of digest.Digest, named []digest.Digest) { i.known.Add(of, named) }

func (i *indexes) named(of digest.Digest) (named []digest.Digest, isKnown bool) {
	known, isKnown := i.known.Get(of)
	named, _ = known.([]digest.Digest)
	return named, isKnown
}

// holding visits manifests that a mirror has, each once.
type holding struct {
	mirror  mirror
	indexes *indexes
	seen    map[digest.Digest]bool
}

func (h *holding) unseen(named []digest.Digest) (level []digest.Digest) {
	for _, one := range named {
		if !h.seen[one] {
			h.seen[one] = true
			level = append(level, one)
		}
	}
	return level
}

// read are those of a level that are there, and what these name.
func (h *holding) read(ctx context.Context, level []digest.Digest) (held []string, below []digest.Digest, err error) {
	named := make([][]digest.Digest, len(level))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(manifestsAtOnce)
	for i, one := range level {
		group.Go(func() (err error) {
			named[i], err = h.names(reading, one)
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

// names is what a manifest names, nil where it is not there. The manifest itself is not kept: together they might be large.
func (h *holding) names(ctx context.Context, of digest.Digest) (named []digest.Digest, err error) {
	if named, isKnown := h.indexes.named(of); isKnown {
		return named, nil
	}
	var content []byte
	err = h.mirror.ask(ctx, func(ctx context.Context, with requester) error {
		content, _, err = with.fetch(ctx, h.mirror.at.child(of))
		return err
	})
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if named, err = namedBy(content); err != nil {
		return nil, h.mirror.quotas.explain(err, h.mirror.at)
	}
	h.indexes.note(of, named)
	return named, nil
}
