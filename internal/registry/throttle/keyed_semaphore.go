package throttle

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/images-io/tagger/internal/registry/transport"
)

// readAtOnce bounds the questions that read manifests at a time, whoever asks: each holds an index and two below it, and a
// registry may take all the time that there is to send them. readOfAsker bounds those of one asker, whose registry may.
const (
	readAtOnce  = 4
	readOfAsker = 2
)

// Readers have those who read manifests wait for their turn.
type Readers struct {
	all *semaphore.Weighted

	mu sync.Mutex
	of map[string]*readersOfAsker
}

type readersOfAsker struct {
	*semaphore.Weighted
	// users are those who read or wait.
	users int
}

func NewReaders() *Readers {
	return &Readers{all: semaphore.NewWeighted(readAtOnce), of: map[string]*readersOfAsker{}}
}

// readerPatience is how long a question waits for its turn to read. It has to leave time for reading.
const readerPatience = transport.RequestsLimit / 3

// errReadersBusy says that others read manifests, and nothing of the host.
var errReadersBusy = errors.New("others read manifests")

// Enter waits until the asker may read: for a share of its own first, so that meanwhile it has nothing of what is for all.
func (r *Readers) Enter(ctx context.Context) (leave func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, readerPatience)
	defer cancel()
	asker := askerOf(ctx)
	own := r.use(asker)
	if own.Acquire(waiting, 1) != nil {
		r.unuse(asker)
		return nil, cmp.Or(ctx.Err(), errReadersBusy)
	}
	leaveOwn := func() {
		own.Release(1)
		r.unuse(asker)
	}
	if r.all.Acquire(waiting, 1) != nil {
		leaveOwn()
		return nil, cmp.Or(ctx.Err(), errReadersBusy)
	}
	return func() {
		r.all.Release(1)
		leaveOwn()
	}, nil
}

func (r *Readers) use(asker string) *readersOfAsker {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.of[asker]
	if own == nil {
		own = &readersOfAsker{Weighted: semaphore.NewWeighted(readOfAsker)}
		r.of[asker] = own
	}
	own.users++
	return own
}

func (r *Readers) unuse(asker string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.of[asker]
	if own.users--; own.users == 0 {
		delete(r.of, asker)
	}
}

type askerKey struct{}

// AskedBy notes for whom a question is asked. Where several ask it, that is who came first.
func AskedBy(ctx context.Context, asker string) context.Context {
	return context.WithValue(ctx, askerKey{}, asker)
}

func askerOf(ctx context.Context) string {
	asker, _ := ctx.Value(askerKey{}).(string)
	return asker
}
