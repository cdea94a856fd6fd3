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

// ending starts a manager that ends at the point.
func (p *plane) ending(at point) *manager {
	p.t.Helper()
	program, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	return p.start(program, at)
}

// maxStarts is how often a manager may end before it is ready.
const maxStarts = 5

// start starts a manager, and another one where that becomes the leader, and ends at its point or for a lost lease, before it
// is seen to be ready.
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

// end ends a manager that may have ended, or may be frozen.
func (p *plane) end(m *manager) {
	p.service.remove(m.endpoint)
	_ = m.Signal(syscall.SIGKILL) // fails where it has ended
	<-m.Ended()                   // Stop wants a good end of what it ends itself
	if err := m.Stop(); err != nil {
		p.t.Error(err)
	}
}

// leads says whether a manager is the leader.
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

// leads waits until one of two managers leads. One that ends meanwhile is replaced.
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

// restarted has another manager in the place of one that lost its lease.
func (p *plane) restarted(managers pair) pair {
	p.t.Helper()
	return pair{leader: p.living(managers.leader), other: p.living(managers.other)}
}

// living is the manager, or another one of its kind where it lost its lease, as the kubelet would have it: on a busy machine that
// happens. Nothing else ends a manager by itself.
func (p *plane) living(m *manager) *manager {
	p.t.Helper()
	if !m.hasEnded() {
		return m
	}
	p.t.Logf("replaced: %v", m.reason())
	p.end(m)
	return p.start(m.program, m.point)
}

// holder is who has the lease, and since when.
func (p *plane) holder(ctx context.Context) string {
	var lease coordinationv1.Lease
	if err := p.client.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: "tagger.images.io"}, &lease); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, renewed at %s", ptr.Deref(lease.Spec.HolderIdentity, "nobody"), lease.Spec.RenewTime)
}

// reason is how a manager ended by itself. The test fails unless it lost its lease.
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
