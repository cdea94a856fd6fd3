//go:build faults

package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

// Where a process may exit. All counts start when the process becomes the leader.
const (
	// never does not end it.
	never = "never"
	// beforeWrite ends it before it sends its N-th write.
	beforeWrite = "before-write"
	// afterWrite ends it after its N-th write is stored, before it reads the response.
	afterWrite = "after-write"
	// sent ends it after N bytes to the API server, in the middle of a request most of the time.
	sent = "sent"
	// received ends it after N bytes from the API server, in the middle of a response or a watch event.
	received = "received"
	// later ends it after N milliseconds, such as while it waits for a registry.
	later = "milliseconds"
)

// point is where a process exits: by SIGKILL, without a chance to do anything more.
type point struct {
	where string
	count int64
	// namespace is the one whose writes count; "*" counts them in all but Tagger's own.
	namespace string
}

// String returns the text that parsePoint parses.
func (p point) String() string { return fmt.Sprintf("%s %d %s", p.where, p.count, p.namespace) }

func parsePoint(text string) (p point, err error) {
	if _, err = fmt.Sscan(text, &p.where, &p.count, &p.namespace); err != nil {
		err = fmt.Errorf("%q is no point to end at: %w", text, err)
	}
	return p, err
}

// randomPoint returns a point in the first moments of a leader.
func randomPoint(random *rand.Rand) point {
	p := point{namespace: "*"}
	switch random.IntN(6) {
	case 0, 1:
		p.where, p.count = beforeWrite, 1+random.Int64N(80)
	case 2:
		p.where, p.count = afterWrite, 1+random.Int64N(80)
	case 3:
		p.where, p.count = sent, 1+random.Int64N(80_000)
	case 4:
		p.where, p.count = received, 1+random.Int64N(150_000)
	default:
		p.where, p.count = later, random.Int64N(1500)
	}
	return p
}

// ending counts the traffic to the API server.
type ending struct {
	point
	mu      sync.Mutex
	leading bool
	counted int64
}

// install makes all clients of the configuration use the counter.
func (e *ending) install(cluster *rest.Config) {
	cluster.Wrap(func(next http.RoundTripper) http.RoundTripper { return watched{ending: e, next: next} })
	cluster.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return countedConn{Conn: connection, ending: e}, nil
	}
}

// count adds to a count. It does not return when the point is reached. It returns the number of bytes up to the point, so that
// a connection can send exactly those.
func (e *ending) count(where string, n int64) (over int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.leading || where != e.where {
		return 0
	}
	e.counted += n
	return max(e.counted-e.point.count+1, 0)
}

// die ends the process as a power failure does.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way, so wait
}

func (e *ending) isLeading() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.leading && e.where == later {
		time.AfterFunc(time.Duration(e.point.count)*time.Millisecond, die)
	}
	e.leading = true
}

// watched is the transport of HTTP requests.
type watched struct {
	*ending
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (w watched) RoundTrip(request *http.Request) (*http.Response, error) {
	isWrite := w.isWrite(request)
	if isWrite && w.count(beforeWrite, 1) > 0 {
		die()
	}
	response, err := w.next.RoundTrip(request)
	if isWrite && w.count(afterWrite, 1) > 0 {
		die()
	}
	if err == nil && response.StatusCode < http.StatusMultipleChoices && isLease(request) {
		w.isLeading()
	}
	return response, err
}

// isLease reports whether a request acquires the lease, or renews it.
func isLease(request *http.Request) bool {
	return request.Method != http.MethodGet && strings.Contains(request.URL.Path, "/leases")
}

func (w watched) isWrite(request *http.Request) bool {
	if request.Method == http.MethodGet {
		return false
	}
	_, rest, namespaced := strings.Cut(request.URL.Path, "/namespaces/")
	namespace, _, _ := strings.Cut(rest, "/")
	if w.namespace == "*" {
		return namespaced && namespace != "tagger-system"
	}
	return namespaced && namespace == w.namespace
}

// countedConn is a connection to the API server, below TLS.
type countedConn struct {
	net.Conn
	*ending
}

// Write sends the bytes before the point.
func (c countedConn) Write(p []byte) (int, error) {
	if over := c.count(sent, int64(len(p))); over > 0 {
		_, _ = c.Conn.Write(p[:max(int64(len(p))-over, 0)])
		die()
	}
	return c.Conn.Write(p)
}

// Read returns the bytes before the point.
func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.count(received, int64(n)) > 0 {
		die()
	}
	return n, err
}
