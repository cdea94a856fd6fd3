package certificates

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/images-io/tagger/test/audit"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// managerUser is the replicas' username.
var managerUser = cluster.Username(cluster.Namespace, cluster.ServiceAccount)

// startLimit bounds the start of the world.
const startLimit = 5 * time.Minute

// world is shared by all tests.
var world struct {
	cluster  *cluster.Cluster
	registry *cluster.Registry
	api      client.Client
	front    *front
	replicas [2]*replica
}

// replica is one of the managers, with its own address.
type replica struct {
	*cluster.Manager
	address string
}

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // the replicas have their own logs
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "certificates:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "tagger-certificates-")
	if err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	stop, err := start(ctx, dir)
	if err == nil {
		code = m.Run()
	}
	if err = errors.Join(err, stop()); err == nil && code == 0 {
		err = audit.NothingRefused(world.cluster.AuditLog(), managerUser)
	}
	if err != nil || code != 0 {
		fmt.Fprintln(os.Stderr, "certificates: the logs are in", dir)
		return code, err
	}
	return code, os.RemoveAll(dir)
}

// start starts the world and returns what stops it, in both cases.
func start(ctx context.Context, dir string) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for _, stop := range slices.Backward(stops) {
			errs = append(errs, stop())
		}
		return errors.Join(errs...)
	}
	if world.cluster, err = cluster.Start(ctx, cluster.Options{Dir: filepath.Join(dir, "cluster"), AuditUser: managerUser}); err != nil {
		return stop, err
	}
	stops = append(stops, world.cluster.Stop)
	if world.api, err = newClient(world.cluster.Config); err != nil {
		return stop, err
	}
	if world.registry, err = cluster.StartRegistry(ctx, cluster.RegistryOptions{Dir: filepath.Join(dir, "registry")}); err != nil {
		return stop, err
	}
	stops = append(stops, world.registry.Stop)
	webhooks, err := reserve()
	if err != nil {
		return stop, err
	}
	stops = append(stops, world.front.stop)
	if err := cluster.Install(ctx, world.cluster, cluster.WebhookEndpoint{URL: world.front.url()}); err != nil {
		return stop, err
	}
	err = startReplicas(ctx, dir, webhooks)
	for _, replica := range world.replicas {
		if replica != nil {
			stops = append(stops, replica.Stop)
		}
	}
	return stop, err
}

func newClient(config *rest.Config) (client.Client, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	return client.New(config, client.Options{Scheme: harness.Scheme()})
}

// reserve reserves an address for each replica, and starts the front.
func reserve() (webhooks [2]*cluster.Webhook, err error) {
	var addresses []string
	for i := range webhooks {
		if webhooks[i], err = cluster.ReserveWebhook(); err != nil {
			return webhooks, err
		}
		addresses = append(addresses, webhooks[i].Host+":"+strconv.Itoa(webhooks[i].Port))
	}
	world.front, err = newFront(addresses)
	return webhooks, err
}

// startReplicas starts both at once, without any certificate, and returns when both are ready.
func startReplicas(ctx context.Context, dir string, webhooks [2]*cluster.Webhook) error {
	conf := filepath.Join(dir, "registries.conf")
	if err := harness.WriteRegistriesConf(conf, world.registry.Address); err != nil {
		return err
	}
	var starting errgroup.Group
	for i := range world.replicas {
		starting.Go(func() error {
			manager, err := cluster.StartManager(ctx, cluster.ManagerOptions{
				Dir: filepath.Join(dir, "manager-"+strconv.Itoa(i)), Cluster: world.cluster, Webhook: webhooks[i], RegistriesConf: conf,
				Args: []string{"--leader-elect=true"},
			})
			if err == nil {
				world.replicas[i] = &replica{Manager: manager, address: world.front.replicas[i]}
			}
			return err
		})
	}
	return starting.Wait()
}
