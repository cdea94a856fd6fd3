package mirror_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

var errDead = errors.New("the process has ended")

// pieceSize is how much of a body is sent or read in one step, in bytes.
const pieceSize = 8 << 10

// life is a process that ends at one of its steps: before it sends a request, in the middle of what it sends or reads, or while
// the response is in flight. After that it does nothing more.
type life struct {
	left atomic.Int64
	end  context.CancelFunc
}

// newLife ends after so many steps, and the context with it.
func newLife(ctx context.Context, steps int64) (*life, context.Context) {
	ctx, end := context.WithCancel(ctx)
	l := &life{end: end}
	l.left.Store(steps)
	return l, ctx
}

func (l *life) step() error {
	if l.left.Add(-1) >= 0 {
		return nil
	}
	l.end()
	return errDead
}

// wire makes each step of a transport a step of the life.
func (l *life) wire(next http.RoundTripper) http.RoundTripper { return mortal{life: l, next: next} }

type mortal struct {
	life *life
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (m mortal) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := m.life.step(); err != nil {
		if request.Body != nil {
			request.Body.Close()
		}
		return nil, err
	}
	if request.Body != nil && request.Body != http.NoBody {
		request = request.Clone(request.Context())
		request.Body = pieces{life: m.life, ReadCloser: request.Body}
	}
	response, err := m.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = pieces{life: m.life, ReadCloser: response.Body}
	if err := m.life.step(); err != nil {
		response.Body.Close()
		return nil, err
	}
	return response, nil
}

// pieces is a body in which each piece is a step.
type pieces struct {
	io.ReadCloser
	life *life
}

// Read implements io.Reader.
func (p pieces) Read(buffer []byte) (int, error) {
	if err := p.life.step(); err != nil {
		return 0, err
	}
	return p.ReadCloser.Read(buffer[:min(len(buffer), pieceSize)])
}
