//go:build faults

package outage

import (
	"io"
	"net"
	"sync"
	"testing"
)

// cable forwards connections from an address of its own to another one. A test can cut it: connections break, and new ones are
// refused.
type cable struct {
	t       *testing.T
	address string
	to      string

	mu          sync.Mutex
	listener    net.Listener // nil while it is cut
	connections []net.Conn
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	c := &cable{t: t, address: "127.0.0.1:0", to: to}
	c.restore()
	t.Cleanup(c.cut)
	return c
}

// restore accepts connections again.
func (c *cable) restore() {
	c.t.Helper()
	listener, err := net.Listen("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.listener, c.address = listener, listener.Addr().String()
	c.mu.Unlock()
	go c.accept(listener)
}

// cut closes all connections, and refuses new ones.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener == nil {
		return
	}
	_ = c.listener.Close()
	c.listener = nil
	for _, connection := range c.connections {
		_ = connection.Close()
	}
	c.connections = nil
}

func (c *cable) accept(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return // it was cut
		}
		if far, err := net.Dial("tcp", c.to); err == nil && c.keep(listener, near, far) {
			go pump(near, far)
			go pump(far, near)
			continue
		}
		_ = near.Close()
	}
}

// keep remembers a connection to close, unless the cable is cut.
func (c *cable) keep(listener net.Listener, ends ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connections = append(c.connections, ends...)
	return c.listener == listener
}

func pump(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
}
