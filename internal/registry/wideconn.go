package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// pieceSize is how much of a blob is read and sent at a time, in bytes.
const pieceSize = 256 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// wideConn is a connection that sends a body in large pieces. Those of net/http are small, and for each of them somebody wakes
// up at either end.
type wideConn struct{ net.Conn }

// ReadFrom implements io.ReaderFrom, by which net/http sends a body where there is no TLS.
func (c wideConn) ReadFrom(body io.Reader) (sent int64, err error) {
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	for {
		count, err := body.Read(piece[:])
		if count > 0 {
			written, err := c.Write(piece[:count])
			sent += int64(written)
			if err != nil {
				return sent, err
			}
		}
		if errors.Is(err, io.EOF) {
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
	}
}

// wide makes the connections of a dialer wide.
func wide(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return wideConn{connection}, nil
	}
}
