package copier

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
)

// parcel is something that arrives once.
type parcel struct {
	arrived chan struct{}
	taken   bool
	// noted: the mirror noted by itself what it is attached to. It may be read once it has arrived.
	noted bool
}

// parcels are what has to arrive, each once, whoever names it.
type parcels struct {
	mu sync.Mutex
	by map[digest.Digest]*parcel
}

func (p *parcels) of(digest digest.Digest) *parcel {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.locked(digest)
}

func (p *parcels) locked(of digest.Digest) *parcel {
	if p.by == nil {
		p.by = map[digest.Digest]*parcel{}
	}
	if p.by[of] == nil {
		p.by[of] = &parcel{arrived: make(chan struct{})}
	}
	return p.by[of]
}

// take is the parcel, and whether it is the caller's to bring.
func (p *parcels) take(of digest.Digest) (taken *parcel, isMine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken = p.locked(of)
	isMine, taken.taken = !taken.taken, true
	return taken, isMine
}

// await waits for a parcel, whoever brings it.
func (p *parcels) await(ctx context.Context, of digest.Digest) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.of(of).arrived:
		return nil
	}
}
