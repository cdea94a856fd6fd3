package cluster

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// StopAPIServer kills kube-apiserver at once, as a power failure does: clients get no notice, and no watch ends in order. etcd
// keeps running.
func (c *Cluster) StopAPIServer(ctx context.Context) error {
	pid, err := c.leash.pid("kube-apiserver")
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill kube-apiserver: %w", err)
	}
	c.leash.forget("kube-apiserver")
	return await(ctx, "the end of kube-apiserver", never, func(context.Context) error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d is still there (%w)", pid, err)
		}
		return nil
	})
}

// StartAPIServer starts kube-apiserver again after StopAPIServer, at the same address, with the same certificates, on the
// same data. It returns when it is healthy.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	api := c.env.ControlPlane.APIServer
	log, err := c.launch("kube-apiserver", api.CertDir, &api.Path)
	if err != nil {
		return err
	}
	defer log.Close() // the program has its own descriptor
	api.Err = log
	if err := api.Start(); err != nil {
		return fmt.Errorf("start kube-apiserver again: %w", err)
	}
	return ctx.Err() // envtest takes no context
}

// RestartAPIServer is StopAPIServer and StartAPIServer. (After a SIGTERM kube-apiserver would wait for its watches to end.)
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	return errors.Join(c.StopAPIServer(ctx), c.StartAPIServer(ctx))
}

// EtcdURL returns the address of etcd for clients, in plain HTTP.
func (c *Cluster) EtcdURL() string { return c.env.ControlPlane.Etcd.URL.String() }
