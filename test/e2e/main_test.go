package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/internal/app"
	"github.com/images-io/tagger/test/audit"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// startLimit bounds the start of the world.
const startLimit = 5 * time.Minute

// world is shared by all tests. Each has its own namespace.
var world struct {
	cluster        *cluster.Cluster
	registry       *cluster.Registry
	private        *cluster.Registry
	mirror         *cluster.Registry
	notifying      *cluster.Registry // its notifications go to the manager
	faulty         *faultyRegistry
	silent         *silentRegistry
	late           *lateRegistry
	registriesConf string
	manager        *cluster.Manager
	logs           *logBuffer
}

// managerUser is the manager's username.
var managerUser = cluster.Username(cluster.Namespace, cluster.ServiceAccount)

// The private registry's user.
const privateUser, privatePassword = "alice", "correct-horse-battery-staple"

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "tagger-e2e-")
	if err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	stop, err := start(ctx, dir)
	var rbac audit.RBAC
	if err == nil {
		code = m.Run()
		rbac, err = granted()
	}
	err = errors.Join(err, stop())
	if err == nil && code == 0 && wholeRun() {
		err = errors.Join(theLogIsSound(), theRoleIsExact(rbac))
	}
	if err == nil && code == 0 {
		return code, os.RemoveAll(dir)
	}
	_ = os.WriteFile(filepath.Join(dir, "manager.log"), world.logs.bytes(), 0o600)
	fmt.Fprintln(os.Stderr, "e2e: the logs are in", dir)
	return code, err
}

// granted is what the cluster grants, to any subject.
func granted() (audit.RBAC, error) {
	admin, err := client.New(world.cluster.Config, client.Options{})
	if err != nil {
		return audit.RBAC{}, err
	}
	return audit.Live(context.Background(), admin)
}

// theRoleIsExact checks all requests of the manager in all tests: the API server forbade none, and the manager used every right
// of the shipped roles.
func theRoleIsExact(rbac audit.RBAC) error {
	events, err := audit.ReadFiles(world.cluster.AuditLog())
	if err != nil {
		return err
	}
	report, err := audit.Compare(events, rbac, managerUser)
	if err != nil {
		return err
	}
	return report.Err()
}

// wholeRun reports whether all tests ran: the log of a few tests is incomplete.
func wholeRun() bool {
	return flag.Lookup("test.run").Value.String() == ""
}

// start starts the world and returns what stops it, in both cases.
func start(ctx context.Context, dir string) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for i := range stops {
			errs = append(errs, stops[len(stops)-1-i]())
		}
		return errors.Join(errs...)
	}
	world.logs = &logBuffer{}
	options := cluster.Options{Dir: filepath.Join(dir, "cluster"), WithWorkloads: true, AuditUser: managerUser}
	if world.cluster, err = cluster.Start(ctx, options); err != nil {
		return stop, err
	}
	stops = append(stops, world.cluster.Stop)
	if world.registry, err = cluster.StartRegistry(ctx, cluster.RegistryOptions{Dir: filepath.Join(dir, "registry")}); err != nil {
		return stop, err
	}
	stops = append(stops, world.registry.Stop)
	private := cluster.RegistryOptions{Dir: filepath.Join(dir, "private"), Username: privateUser, Password: privatePassword}
	if world.private, err = cluster.StartRegistry(ctx, private); err != nil {
		return stop, err
	}
	stops = append(stops, world.private.Stop)
	if world.mirror, err = cluster.StartRegistry(ctx, cluster.RegistryOptions{Dir: filepath.Join(dir, "mirror")}); err != nil {
		return stop, err
	}
	world.faulty = newFaultyRegistry(world.registry.Address)
	stops = append(stops, world.mirror.Stop, world.faulty.stop)
	if world.silent, err = newSilentRegistry(); err != nil {
		return stop, err
	}
	stops = append(stops, world.silent.stop)
	world.late = newLateRegistry(world.registry.Address)
	stops = append(stops, world.late.stop)
	world.registriesConf = filepath.Join(dir, "registries.conf")
	faulty := []string{world.faulty.address, world.faulty.limited, world.faulty.broken, world.faulty.closed, world.faulty.mute, world.faulty.dripping, world.faulty.elsewhere, world.faulty.slow, world.faulty.crowded, world.faulty.shared, world.faulty.stalling, world.silent.address, world.late.address}
	if err = allowPlainHTTP(append(faulty, world.registry.Address, world.private.Address)...); err != nil {
		return stop, err
	}
	webhook, err := cluster.ReserveWebhook()
	if err != nil {
		return stop, err
	}
	if err = cluster.Install(ctx, world.cluster, webhook.Endpoint); err != nil {
		return stop, err
	}
	world.manager, err = cluster.RunManager(ctx, runManager, cluster.ManagerOptions{
		Dir: filepath.Join(dir, "manager"), Cluster: world.cluster, Webhook: webhook, RegistriesConf: world.registriesConf,
		// as shipped, so that the manager uses all its rights, without a wait of an hour
		Args: []string{"--leader-elect=true", "--metrics-secure=true", "--mirror-verify-interval=5s"},
	})
	if err != nil {
		return stop, err
	}
	stops = append(stops, world.manager.Stop)
	if world.notifying, err = startNotifying(ctx, filepath.Join(dir, "notifying")); err != nil {
		return stop, err
	}
	stops = append(stops, world.notifying.Stop)
	return stop, allowPlainHTTP(append(faulty, world.registry.Address, world.private.Address, world.notifying.Address)...)
}

// startNotifying starts a registry that notifies the manager.
func startNotifying(ctx context.Context, dir string) (*cluster.Registry, error) {
	tokens, err := world.cluster.PushTokens(ctx)
	if err != nil {
		return nil, err
	}
	return cluster.StartRegistry(ctx, cluster.RegistryOptions{Dir: dir, Notify: world.manager.PushURL + "/distribution/" + tokens["distribution"]})
}

// runManager runs the manager's own command, in this process.
func runManager(ctx context.Context, args []string) error {
	command := app.NewCommand(func(string) (string, bool) { return "", false }, world.logs)
	command.SetArgs(args)
	return command.ExecuteContext(ctx)
}

// allowPlainHTTP writes registries.conf.
func allowPlainHTTP(addresses ...string) error {
	return harness.WriteRegistriesConf(world.registriesConf, addresses...)
}

// logBuffer keeps the manager's log.
type logBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *logBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buffer.Bytes())
}

// lines returns the lines of the log with all of the parts.
func (b *logBuffer) lines(parts ...string) []string {
	var found []string
	for line := range strings.Lines(string(b.bytes())) {
		matches := true
		for _, part := range parts {
			matches = matches && strings.Contains(line, part)
		}
		if matches {
			found = append(found, line)
		}
	}
	return found
}
