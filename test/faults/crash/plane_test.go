//go:build faults

package crash

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

// patience bounds every wait. What is waited for is promised within the 2 s of the lease and 2 s more, but the machine may
// be a busy one.
const patience = 60 * time.Second

// lease is what the managers are told: another one takes over after 2 s.
var lease = []string{
	"--leader-elect=true", "--leader-elect-lease-duration=2s", "--leader-elect-renew-deadline=1500ms", "--leader-elect-retry-period=250ms",
}

// plane is a control plane, a registry, and the way to the managers.
type plane struct {
	t        *testing.T
	dir      string
	cluster  *cluster.Cluster
	webhook  *cluster.Webhook
	service  *service
	registry *gate
	address  string // the registry's
	client   client.WithWatch
	managers int
	// cacheRegistry is where the managers mirror to; empty means nowhere.
	cacheRegistry string
}

// newPlane starts all but the managers.
func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, dir: t.TempDir()}
	var err error
	if p.cluster, err = cluster.Start(t.Context(), cluster.Options{Dir: filepath.Join(p.dir, "cluster")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	p.install()
	p.registry = &gate{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewServer(p.registry)
	t.Cleanup(server.Close)
	t.Cleanup(p.registry.open)
	p.address = strings.TrimPrefix(server.URL, "http://")
	conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", p.address)
	if err := os.WriteFile(filepath.Join(p.dir, "registries.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// install applies config/default, whose webhooks lead to the service.
func (p *plane) install() {
	p.t.Helper()
	var err error
	if p.webhook, err = cluster.NewWebhook(filepath.Join(p.dir, "webhook")); err != nil {
		p.t.Fatal(err)
	}
	if err = cluster.Install(p.t.Context(), p.cluster, p.webhook.Endpoint); err != nil {
		p.t.Fatal(err)
	}
	if p.service, err = newService(net.JoinHostPort(p.webhook.Host, strconv.Itoa(p.webhook.Port))); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.service.stop)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1.AddToScheme} {
		if err := add(scheme); err != nil {
			p.t.Fatal(err)
		}
	}
	config := *p.cluster.Config
	config.QPS = -1
	if p.client, err = client.NewWithWatch(&config, client.Options{Scheme: scheme}); err != nil {
		p.t.Fatal(err)
	}
}

// namespace makes a namespace.
func (p *plane) namespace(name string) {
	p.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := p.client.Create(p.t.Context(), namespace); err != nil {
		p.t.Fatal(err)
	}
}

// manager is a running manager and its endpoint.
type manager struct {
	*cluster.Manager
	dir      string
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
	m := &manager{Manager: running, dir: dir, endpoint: net.JoinHostPort(webhook.Host, strconv.Itoa(webhook.Port)), point: at}
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

// leads waits until one of two managers leads. One that ends meanwhile, for it has lost its lease on a busy machine, is
// replaced.
func (p *plane) leads(managers ...*manager) (found pair) {
	p.t.Helper()
	p.eventually("a leader", func(ctx context.Context) error {
		for i, m := range managers {
			if m.hasEnded() {
				p.t.Logf("replaced: %v", m.Exited())
				p.end(m)
				managers[i] = p.shipped()
			}
			if managers[i].leads(ctx) {
				found = pair{leader: managers[i], other: managers[1-i]}
				return nil
			}
		}
		return fmt.Errorf("none of %d managers leads", len(managers))
	})
	return found
}

// restarted has another manager in the place of one that lost its lease, as the kubelet would: on a busy machine both may.
// Nothing else ends a manager by itself.
func (p *plane) restarted(managers pair) pair {
	p.t.Helper()
	for _, m := range []**manager{&managers.leader, &managers.other} {
		if !(*m).hasEnded() {
			continue
		}
		if !(*m).lostItsLease() {
			p.t.Fatalf("not for a lost lease: %v", (*m).Exited())
		}
		p.t.Logf("replaced: %v", (*m).Exited())
		p.end(*m)
		*m = p.shipped()
	}
	return managers
}

// lostItsLease says whether that is why the manager ended.
func (m *manager) lostItsLease() bool {
	said, err := os.ReadFile(filepath.Join(m.dir, "manager.log"))
	return err == nil && bytes.HasSuffix(bytes.TrimSpace(said), []byte("leader election lost"))
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

// try does something until admission answers for it.
func (p *plane) try(what string, do func() error) {
	p.t.Helper()
	if err := retry.OnError(patientBackoff, isOutage, do); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// eventually waits until a condition holds.
func (p *plane) eventually(what string, condition func(context.Context) error) {
	p.t.Helper()
	last := fmt.Errorf("never asked")
	err := wait.PollUntilContextTimeout(p.t.Context(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		last = condition(ctx)
		return last == nil, nil
	})
	if err != nil {
		p.t.Fatalf("%s: not within %s: %v", what, patience, last)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
