package cluster

import (
	"context"
	"fmt"
	"os"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// startAPIServer starts etcd and kube-apiserver with envtest, and sets the administrator's configuration.
func (c *Cluster) startAPIServer(ctx context.Context) error {
	etcd := &envtest.Etcd{DataDir: c.path("etcd")}
	etcdLog, err := c.launch("etcd", etcd.DataDir, &etcd.Path)
	if err != nil {
		return err
	}
	defer etcdLog.Close() // the program has its own descriptor
	etcd.Err = etcdLog

	api := &envtest.APIServer{CertDir: c.path("pki")}
	apiLog, err := c.launch("kube-apiserver", api.CertDir, &api.Path)
	if err != nil {
		return err
	}
	defer apiLog.Close()
	api.Err = apiLog
	if err := c.configureAudit(api); err != nil {
		return err
	}
	if c.options.WithWorkloads {
		// envtest switches the ServiceAccount admission off, because without a controller manager there are none
		api.Configure().Disable("disable-admission-plugins")
	}

	c.env = &envtest.Environment{
		ControlPlane:             envtest.ControlPlane{Etcd: etcd, APIServer: api, KubectlPath: c.program("kubectl")},
		UseExistingCluster:       new(false), // regardless of the caller's environment
		ControlPlaneStartTimeout: readyTimeout,
		ControlPlaneStopTimeout:  stopTimeout,
	}
	if c.Config, err = c.env.Start(); err != nil {
		return fmt.Errorf("start etcd and kube-apiserver: %w", err)
	}
	return ctx.Err() // envtest takes no context
}

// launch prepares what envtest needs to start a program on the leash: the path, the program's folder, and the log.
func (c *Cluster) launch(name, dir string, path *string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for %s: %w", name, err)
	}
	var err error
	if *path, err = c.leash.program(c.program(name)); err != nil {
		return nil, err
	}
	return openLog(c.log(name))
}

// stopAPIServer stops kube-apiserver, then etcd. The record of a process that does not stop stays, for the guardian.
func (c *Cluster) stopAPIServer() error {
	if c.env == nil {
		return nil
	}
	if err := c.env.Stop(); err != nil {
		return fmt.Errorf("stop etcd and kube-apiserver: %w", err)
	}
	c.leash.forget("kube-apiserver")
	c.leash.forget("etcd")
	return nil
}
