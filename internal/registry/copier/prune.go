package copier

import (
	"context"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/remote"
)

// maxNamed bounds of how many manifests it is remembered what they name.
const maxNamed = 4096

// Indexes remember the digests of the manifests that a manifest names, which never change: those of what was copied, too, so that it
// is known what a copy that did not end has left.
type Indexes struct{ known *lru.Cache }

func NewIndexes() *Indexes { return &Indexes{known: lru.New(maxNamed)} }

func (i *Indexes) note(of digest.Digest, named []digest.Digest) { i.known.Add(of, named) }

func (i *Indexes) named(of digest.Digest) (named []digest.Digest, isKnown bool) {
	known, isKnown := i.known.Get(of)
	named, _ = known.([]digest.Digest)
	return named, isKnown
}

// Holding visits manifests that a mirror has, each once.
type Holding struct {
	Mirror  remote.Mirror
	Indexes *Indexes
	Seen    map[digest.Digest]bool
}

func (h *Holding) Unseen(named []digest.Digest) (level []digest.Digest) {
	for _, one := range named {
		if !h.Seen[one] {
			h.Seen[one] = true
			level = append(level, one)
		}
	}
	return level
}

// Read are those of a level that are there, and what these name.
func (h *Holding) Read(ctx context.Context, level []digest.Digest) (held []string, below []digest.Digest, err error) {
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
func (h *Holding) names(ctx context.Context, of digest.Digest) (named []digest.Digest, err error) {
	if named, isKnown := h.Indexes.named(of); isKnown {
		return named, nil
	}
	var content []byte
	err = h.Mirror.Ask(ctx, func(ctx context.Context, with remote.Requester) error {
		content, _, err = with.Fetch(ctx, h.Mirror.At.Child(of))
		return err
	})
	if remote.IsGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if named, err = manifest.NamedBy(content); err != nil {
		return nil, h.Mirror.Quotas.Explain(err, h.Mirror.At)
	}
	h.Indexes.note(of, named)
	return named, nil
}
