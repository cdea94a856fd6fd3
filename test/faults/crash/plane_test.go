//go:build faults

package crash

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/test/audit"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// patience bounds every wait. The promise is the 2 s of the lease and 2 s more, but the machine may be busy.
const patience = 60 * time.Second

// lease has the flags of the managers: another one takes over after 2 s.
var lease = []string{
	"--leader-elect=true", "--leader-elect-lease-duration=2s", "--leader-elect-renew-deadline=1500ms", "--leader-elect-retry-period=250ms",
}

// plane is a control plane, a registry, and the route to the managers.
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
	// cacheRegistry is the managers' internal registry; empty means none.
	cacheRegistry string
}

// newPlane starts everything but the managers. At its end it fails if the API server forbade them a request.
func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, dir: t.TempDir()}
	var err error
	manager := cluster.Username(cluster.Namespace, cluster.ServiceAccount)
	if p.cluster, err = cluster.Start(t.Context(), cluster.Options{Dir: filepath.Join(p.dir, "cluster"), AuditUser: manager}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.cluster.Stop(), audit.NothingRefused(p.cluster.AuditLog(), manager)); err != nil {
			t.Error(err)
		}
	})
	p.install()
	p.registry = &gate{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewServer(p.registry)
	t.Cleanup(server.Close)
	t.Cleanup(p.registry.open)
	p.address = strings.TrimPrefix(server.URL, "http://")
	if err := harness.WriteRegistriesConf(filepath.Join(p.dir, "registries.conf"), p.address); err != nil {
		t.Fatal(err)
	}
	return p
}

// install applies config/default, with webhooks at the service.
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
	config := *p.cluster.Config
	config.QPS = -1
	if p.client, err = client.NewWithWatch(&config, client.Options{Scheme: harness.Scheme()}); err != nil {
		p.t.Fatal(err)
	}
}

// namespace creates a namespace.
func (p *plane) namespace(name string) {
	p.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := p.client.Create(p.t.Context(), namespace); err != nil {
		p.t.Fatal(err)
	}
}

// try repeats a request until admission responds.
func (p *plane) try(what string, do func() error) {
	p.t.Helper()
	if err := retry.OnError(patientBackoff, isOutage, do); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// eventually waits until a condition holds.
func (p *plane) eventually(what string, condition func(context.Context) error) {
	p.t.Helper()
	harness.Eventually(p.t, what, patience, condition)
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := cluster.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}
