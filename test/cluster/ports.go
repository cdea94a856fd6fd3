package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// loopback is where everything listens.
const loopback = "127.0.0.1"

// Ports for programs to listen on. They are below those that Linux gives to outgoing connections (ip_local_port_range, from
// 32768): such a connection of another program could take a port between FreePort and the start of the program that listens.
const firstPort, lastPort = 10000, 32767

// FreePort returns a port of loopback that was free a moment ago.
func FreePort() (int, error) {
	const attempts = 100
	var problems error
	for range attempts {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		listener, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			problems = err
			continue
		}
		return port, listener.Close()
	}
	return 0, fmt.Errorf("find a free port: %w", problems)
}
