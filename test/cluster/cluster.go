package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Options configure a control plane. The zero value starts etcd and kube-apiserver in a temporary folder.
type Options struct {
	// Dir holds all state. Empty means a temporary folder that Stop removes.
	Dir string

	// LogDir gets one file for each process. Empty means logs/ in Dir.
	LogDir string

	// Bin is the folder of the programs. Empty means bin/ of the working copy.
	Bin string

	// WithWorkloads adds kube-controller-manager, kube-scheduler and a node, so that Deployments roll out.
	WithWorkloads bool

	// AuditUser is the user whose requests kube-apiserver writes to AuditLog. Empty means none.
	AuditUser string

	// Progress is called with the name of each part that starts. It may be nil.
	Progress func(step string)
}

// Cluster is a running control plane.
type Cluster struct {
	// Config is the administrator's configuration.
	Config *rest.Config

	// Kubeconfig is the path of a file with the same content as Config, certificates included.
	Kubeconfig string

	// LogDir holds one file for each process.
	LogDir string

	options   Options
	temporary bool
	env       *envtest.Environment
	leash     *leash
	processes []*process // in the order of their start
	users     sync.Mutex // envtest counts the certificates of its users without one
}

// Start starts a control plane and returns when it is ready for use. After a failure no process keeps running.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	c, err := prepare(options)
	if err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a control plane: %w (logs: %s)", err, c.LogDir), c.Stop())
	}
	return c, nil
}

// prepare sets the defaults of the options.
func prepare(options Options) (*Cluster, error) {
	programs := []string{"etcd", "kube-apiserver", "kubectl"}
	if options.WithWorkloads {
		programs = append(programs, "kube-controller-manager", "kube-scheduler", "kwok", "kwok.yaml")
	}
	bin, err := findBin(options.Bin, programs...)
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: options, temporary: options.Dir == ""}
	c.options.Bin = bin
	if c.temporary {
		if c.options.Dir, err = os.MkdirTemp("", "tagger-cluster-"); err != nil {
			return nil, fmt.Errorf("make a folder for the control plane: %w", err)
		}
	}
	if c.LogDir = options.LogDir; c.LogDir == "" {
		c.LogDir = c.path("logs")
	}
	if c.options.Progress == nil {
		c.options.Progress = func(string) {}
	}
	c.leash, err = newLeash(c.path("run"))
	return c, err
}

func (c *Cluster) start(ctx context.Context) error {
	c.options.Progress("etcd and kube-apiserver")
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	c.Kubeconfig = c.path("kubeconfig")
	if err := WriteKubeconfig(c.Kubeconfig, c.Config); err != nil {
		return err
	}
	if !c.options.WithWorkloads {
		return nil
	}
	c.options.Progress("kube-controller-manager, kube-scheduler and a node")
	return c.startWorkloads(ctx)
}

// Stop stops every process, the last started first, and waits for each. It may be called more than once.
func (c *Cluster) Stop() error {
	var errs []error
	for _, p := range slices.Backward(c.processes) {
		errs = append(errs, p.stop())
	}
	errs = append(errs, c.stopAPIServer(), c.leash.release())
	if c.temporary {
		errs = append(errs, os.RemoveAll(c.options.Dir))
	}
	return errors.Join(errs...)
}

// Exited returns an error as soon as one of the processes of Start exits by itself. It does not watch etcd and kube-apiserver;
// the other processes exit when they cannot reach them.
func (c *Cluster) Exited() error {
	var errs []error
	for _, p := range c.processes {
		errs = append(errs, p.exited())
	}
	return errors.Join(errs...)
}

func (c *Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.options.Dir}, elements...)...)
}

func (c *Cluster) program(name string) string { return filepath.Join(c.options.Bin, name) }

func (c *Cluster) log(name string) string { return filepath.Join(c.LogDir, name+".log") }
