package e2e

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// silentRegistry accepts connections and never responds.
type silentRegistry struct {
	listener net.Listener
	address  string

	mu   sync.Mutex
	open []net.Conn
}

func newSilentRegistry() (*silentRegistry, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &silentRegistry{listener: listener, address: listener.Addr().String()}
	go s.accept()
	return s, nil
}

func (s *silentRegistry) accept() {
	for {
		connection, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open = append(s.open, connection)
		s.mu.Unlock()
	}
}

func (s *silentRegistry) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, connection := range s.open {
		_ = connection.Close()
	}
	return s.listener.Close()
}

// TestSilentRegistryDelaysNoOthers has more Tags on it than the controller has workers.
func TestSilentRegistryDelaysNoOthers(t *testing.T) {
	u := newUser(t)
	u.push("build 0")
	alone := u.timed("before", 50, u.source())
	u.with(tags("silent", 200, world.silent.address+"/team/app"), "create -f -")
	beside := u.timed("beside", 50, u.source())
	t.Logf("50 Tags are Ready in %s alone, and in %s beside 200 of a registry that never answers", alone, beside)
	if beside > 3*alone+3*time.Second {
		t.Errorf("50 Tags take %s beside a registry that never answers, and %s alone", beside, alone)
	}
	u.becomes("tag/silent-7", `.status.conditions[?(@.type=="Ready")].reason`, "Unavailable")
	if got := u.get("tag/silent-7", `.status.lastImportAttempt.reason`); !strings.Contains(got, world.silent.address) {
		t.Errorf("the reason is %q", got)
	}
}

// timed returns how long many Tags take from their creation until they are Ready.
func (u *user) timed(prefix string, count int, source string) time.Duration {
	u.t.Helper()
	start := time.Now()
	u.with(tags(prefix, count, source), "create -f -")
	u.kubectl("wait --for=condition=Ready tag -l set=" + prefix + " --timeout=60s")
	return time.Since(start)
}

func tags(prefix string, count int, source string) string {
	var all strings.Builder
	for i := range count {
		tag := tagYAML(fmt.Sprintf("%s-%d", prefix, i), source)
		all.WriteString("---\n" + strings.Replace(tag, "metadata:\n", "metadata:\n  labels: {set: "+prefix+"}\n", 1))
	}
	return all.String()
}
