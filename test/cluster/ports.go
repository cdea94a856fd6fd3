package cluster

import (
	"fmt"
	"net"
)

// loopback is where everything listens.
const loopback = "127.0.0.1"

// freePort returns a port of loopback that was free a moment ago.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
