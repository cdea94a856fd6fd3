package copier

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
)

// item is something that arrives once.
type item struct {
	done      chan struct{}
	committed bool
	// listed: the mirror noted by itself what it is attached to. It may be read once it has arrived.
	listed bool
}

// tracker tracks what is copied, each digest once, however many manifests name it.
type tracker struct {
	mu sync.Mutex
	by map[digest.Digest]*item
}

func (p *tracker) of(digest digest.Digest) *item {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.locked(digest)
}

func (p *tracker) locked(dgst digest.Digest) *item {
	if p.by == nil {
		p.by = map[digest.Digest]*item{}
	}
	if p.by[dgst] == nil {
		p.by[dgst] = &item{done: make(chan struct{})}
	}
	return p.by[dgst]
}

// tryCommit returns the item of a digest, and whether the caller is to copy it.
func (p *tracker) tryCommit(dgst digest.Digest) (taken *item, isMine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken = p.locked(dgst)
	isMine, taken.committed = !taken.committed, true
	return taken, isMine
}

// await waits until a digest is copied.
func (p *tracker) await(ctx context.Context, dgst digest.Digest) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.of(dgst).done:
		return nil
	}
}
