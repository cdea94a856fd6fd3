//go:build faults

package crash

import (
	"io"
	"net"
	"slices"
	"sync"
)

// service routes TCP connections to an endpoint that responds, as a Service does. A connection ends with its endpoint.
type service struct {
	listener net.Listener

	mu        sync.Mutex
	endpoints []string
	open      map[net.Conn]string
}

func newService(address string) (*service, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &service{listener: listener, open: map[net.Conn]string{}}
	go s.serve()
	return s, nil
}

func (s *service) serve() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		go s.lead(client)
	}
}

// add makes an endpoint ready.
func (s *service) add(endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoints = append(s.endpoints, endpoint)
}

// remove makes it not ready, and closes its connections: those of a dead machine time out in the end.
func (s *service) remove(endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoints = slices.DeleteFunc(s.endpoints, func(e string) bool { return e == endpoint })
	for client, to := range s.open {
		if to == endpoint {
			client.Close()
		}
	}
}

func (s *service) lead(client net.Conn) {
	defer client.Close()
	server := s.dial(client)
	if server == nil {
		return
	}
	defer server.Close()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, client)
	}()
	go func() {
		_, _ = io.Copy(server, client)
		server.Close()
	}()
	_, _ = io.Copy(client, server)
}

// dial connects to the first endpoint that listens.
func (s *service) dial(client net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, endpoint := range s.endpoints {
		if server, err := net.Dial("tcp", endpoint); err == nil {
			s.open[client] = endpoint
			return server
		}
	}
	return nil
}

func (s *service) stop() { s.listener.Close() }
