//go:build faults

package crash

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/test/cluster"
)

// manager is a running manager and its endpoint.
type manager struct {
	*cluster.Manager
	t        *testing.T
	program  string
	endpoint string
	point    point
}

// shipped starts bin/manager.
func (p *plane) shipped() *manager { return p.start("", point{where: never, namespace: "*"}) }

// ending starts a manager that exits at the point.
func (p *plane) ending(at point) *manager {
	p.t.Helper()
	program, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	return p.start(program, at)
}

// maxStarts is how often a manager may exit before it is ready.
const maxStarts = 5

// start starts a manager, and another one if that becomes the leader, and exits at its point or for a lost lease, before its
// probe succeeds.
func (p *plane) start(program string, at point) *manager {
	p.t.Helper()
	for starts := 1; ; starts++ {
		m, err := p.tryStart(program, at)
		if err == nil {
			return m
		}
		if starts == maxStarts || !strings.Contains(err.Error(), "ended by itself") {
			p.t.Fatal(err)
		}
		p.t.Logf("one that ends at %s was not ready before: %v", at, err)
	}
}

func (p *plane) tryStart(program string, at point) (*manager, error) {
	p.t.Helper()
	p.managers++
	webhook := *p.webhook
	webhook.Port = freePort(p.t)
	dir := filepath.Join(p.dir, fmt.Sprint("manager-", p.managers))
	running, err := cluster.StartManager(p.t.Context(), cluster.ManagerOptions{
		Dir:            dir,
		Cluster:        p.cluster,
		Webhook:        &webhook,
		RegistriesConf: filepath.Join(p.dir, "registries.conf"),
		CacheRegistry:  p.cacheRegistry,
		Program:        program,
		Env:            []string{endsAt + "=" + at.String()},
		Args:           lease,
	})
	if err != nil {
		return nil, err
	}
	m := &manager{t: p.t, Manager: running, program: program, endpoint: net.JoinHostPort(webhook.Host, strconv.Itoa(webhook.Port)), point: at}
	p.service.add(m.endpoint)
	p.t.Cleanup(func() { p.end(m) })
	return m, nil
}

// end stops a manager that may have exited, or may be suspended.
func (p *plane) end(m *manager) {
	p.service.remove(m.endpoint)
	_ = m.Signal(syscall.SIGKILL) // fails if it has exited
	<-m.Ended()                   // Stop requires exit code 0 of a process that it stops
	if err := m.Stop(); err != nil {
		p.t.Error(err)
	}
}

// leads reports whether a manager is the leader.
func (m *manager) leads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.MetricsURL, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	return err == nil && strings.Contains(string(metrics), `leader_election_master_status{name="tagger.images.io"} 1`)
}

// pair is two managers, of which one leads.
type pair struct{ leader, other *manager }

// newPair starts two shipped managers.
func (p *plane) newPair() pair { return p.leads(p.shipped(), p.shipped()) }

// leads waits until one of two managers leads. It replaces one that exits meanwhile.
func (p *plane) leads(managers ...*manager) (found pair) {
	p.t.Helper()
	p.eventually("a leader", func(ctx context.Context) error {
		for i := range managers {
			managers[i] = p.living(managers[i])
			if managers[i].leads(ctx) {
				found = pair{leader: managers[i], other: managers[1-i]}
				return nil
			}
		}
		return fmt.Errorf("none of %d managers leads; the lease has %s", len(managers), p.holder(ctx))
	})
	return found
}

// restarted replaces a manager that lost its lease by another one.
func (p *plane) restarted(managers pair) pair {
	p.t.Helper()
	return pair{leader: p.living(managers.leader), other: p.living(managers.other)}
}

// living returns the manager, or a replacement if it lost its lease, as the kubelet would start: on a busy machine that
// happens. A manager exits by itself for no other reason.
func (p *plane) living(m *manager) *manager {
	p.t.Helper()
	if !m.hasEnded() {
		return m
	}
	p.t.Logf("replaced: %v", m.reason())
	p.end(m)
	return p.start(m.program, m.point)
}

// holder returns the holder of the lease, and since when.
func (p *plane) holder(ctx context.Context) string {
	var lease coordinationv1.Lease
	if err := p.client.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: "tagger.images.io"}, &lease); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, renewed at %s", ptr.Deref(lease.Spec.HolderIdentity, "none"), lease.Spec.RenewTime)
}

// reason returns why a manager exited by itself. The test fails unless it lost its lease.
func (m *manager) reason() error {
	m.t.Helper()
	if said := m.said(); !bytes.HasSuffix(bytes.TrimSpace(said), []byte("leader election lost")) {
		m.t.Fatalf("not for a lost lease: %v: %s", m.Exited(), said)
	}
	return m.Exited()
}

// said is the end of the manager's log, at most 4 KiB.
func (m *manager) said() []byte {
	m.t.Helper()
	log, err := os.ReadFile(m.Log)
	if err != nil {
		m.t.Fatal(err)
	}
	return log[max(0, len(log)-4<<10):]
}

// hasEnded says whether the manager's process has ended.
func (m *manager) hasEnded() bool {
	select {
	case <-m.Ended():
		return true
	default:
		return false
	}
}

// wasKilled says whether it ended by SIGKILL, which is how these tests end it.
func (m *manager) wasKilled() bool {
	if !m.hasEnded() {
		return false
	}
	status, ok := m.State().Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
