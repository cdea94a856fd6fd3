package certificates

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// front is a Service: each connection goes to the next replica. It does not read the bytes.
type front struct {
	listener net.Listener
	replicas []string
	next     atomic.Uint64
	open     sync.WaitGroup
}

func newFront(replicas []string) (*front, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{listener: listener, replicas: replicas}
	f.open.Go(f.accept)
	return f, nil
}

func (f *front) url() string { return "https://" + f.listener.Addr().String() }

// stop returns when the connections are closed, too, after the API server and the replicas have exited.
func (f *front) stop() error {
	err := f.listener.Close()
	f.open.Wait()
	return err
}

func (f *front) accept() {
	for {
		connection, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.open.Go(func() { f.forward(connection) })
	}
}

func (f *front) forward(caller net.Conn) {
	defer caller.Close()
	replica, err := net.Dial("tcp", f.replicas[f.next.Add(1)%uint64(len(f.replicas))])
	if err != nil {
		return
	}
	defer replica.Close()
	done := make(chan struct{}, 2)
	for _, ends := range [][2]net.Conn{{caller, replica}, {replica, caller}} {
		f.open.Go(func() {
			_, _ = io.Copy(ends[0], ends[1]) // it ends with the connection
			done <- struct{}{}
		})
	}
	<-done
}
