package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// RestartAPIServer ends kube-apiserver from one moment to the next and starts it again, at the same address, with the same
// certificates, on the same data. It returns when it is healthy. (Asked politely it would wait for its watches to end.)
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	if err := c.killAPIServer(ctx); err != nil {
		return err
	}
	api := c.env.ControlPlane.APIServer
	log, err := c.launch("kube-apiserver", api.CertDir, &api.Path)
	if err != nil {
		return err
	}
	defer log.Close() // the program has it open itself
	api.Err = log
	if err := api.Start(); err != nil {
		return fmt.Errorf("start kube-apiserver again: %w", err)
	}
	return ctx.Err() // envtest knows no contexts
}

func (c *Cluster) killAPIServer(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(c.leash.dir, "kube-apiserver.pid"))
	if err != nil {
		return fmt.Errorf("find kube-apiserver: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("find kube-apiserver: %w", err)
	}
	c.leash.forget("kube-apiserver")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill kube-apiserver: %w", err)
	}
	return await(ctx, "the end of kube-apiserver", never, func(context.Context) error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d is still there (%w)", pid, err)
		}
		return nil
	})
}
