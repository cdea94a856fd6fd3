package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/images-io/tagger/test/cluster"
)

// stack is everything that runs: the control plane, the registry of pushed images, the registry of mirrored images, and the
// manager.
type stack struct {
	dir, logs       string
	registriesConf  string
	cluster         *cluster.Cluster
	registry, cache *cluster.Registry
	webhook         *cluster.Webhook
	manager         *cluster.Manager
	tokens          map[string]string // of push notifications, by sender
}

// step is a named part of the start.
type step struct {
	name string
	run  func(context.Context) error
}

// startStack starts everything in dir and returns when the manager is ready. After a failure the error names the step, and no
// process keeps running.
func startStack(ctx context.Context, dir string, progress func(string)) (*stack, error) {
	s := &stack{dir: dir, logs: filepath.Join(dir, "logs"), registriesConf: filepath.Join(dir, "registries.conf")}
	steps := []step{
		{"start the control plane", func(ctx context.Context) error { return s.startCluster(ctx, progress) }},
		{"start two registries", s.startRegistries},
		{"install config/default", s.install},
		{"start the manager", s.startManager},
	}
	for _, step := range steps {
		progress(step.name)
		if err := step.run(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", step.name, err), s.stop())
		}
	}
	return s, nil
}

func (s *stack) startCluster(ctx context.Context, progress func(string)) (err error) {
	s.cluster, err = cluster.Start(ctx, cluster.Options{
		Dir:           s.dir,
		LogDir:        s.logs,
		WithWorkloads: true,
		Progress:      func(part string) { progress("  " + part) },
	})
	return err
}

func (s *stack) startRegistries(ctx context.Context) (err error) {
	if s.registry, err = s.startRegistry(ctx, "registry"); err != nil {
		return err
	}
	if s.cache, err = s.startRegistry(ctx, "cache-registry"); err != nil {
		return err
	}
	return s.writeRegistriesConf()
}

func (s *stack) startRegistry(ctx context.Context, name string) (*cluster.Registry, error) {
	return cluster.StartRegistry(ctx, cluster.RegistryOptions{
		Dir: filepath.Join(s.dir, name),
		Log: filepath.Join(s.logs, name+".log"),
	})
}

// writeRegistriesConf allows the manager to use both registries: they are on loopback and use plain HTTP, which it otherwise
// refuses.
func (s *stack) writeRegistriesConf() error {
	content := "# containers-registries.conf(5). The manager applies changes within seconds.\n"
	for _, address := range []string{s.registry.Address, s.cache.Address} {
		content += fmt.Sprintf("\n[[registry]]\nprefix = %[1]q\nlocation = %[1]q\ninsecure = true\n", address)
	}
	content += "\n# Images of docker.io and quay.io come from the first registry, for payloads of their push notifications.\n"
	for _, prefix := range []string{"docker.io", "quay.io"} {
		content += fmt.Sprintf("\n[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", prefix, s.registry.Address)
	}
	if err := os.WriteFile(s.registriesConf, []byte(content), 0o644); err != nil {
		return fmt.Errorf("write the manager's registries.conf: %w", err)
	}
	return nil
}

func (s *stack) install(ctx context.Context) (err error) {
	if s.webhook, err = cluster.ReserveWebhook(); err != nil {
		return err
	}
	return cluster.Install(ctx, s.cluster, s.webhook.Endpoint)
}

func (s *stack) startManager(ctx context.Context) (err error) {
	s.manager, err = cluster.StartManager(ctx, cluster.ManagerOptions{
		Dir:            filepath.Join(s.dir, "manager"),
		Log:            filepath.Join(s.logs, "manager.log"),
		Cluster:        s.cluster,
		Webhook:        s.webhook,
		RegistriesConf: s.registriesConf,
		CacheRegistry:  s.cache.Address,
	})
	if err != nil {
		return err
	}
	s.tokens, err = s.cluster.PushTokens(ctx)
	return err
}

// stop stops what was started, the last first.
func (s *stack) stop() error {
	var errs []error
	if s.manager != nil {
		errs = append(errs, s.manager.Stop())
	}
	for _, registry := range []*cluster.Registry{s.cache, s.registry} {
		if registry != nil {
			errs = append(errs, registry.Stop())
		}
	}
	if s.cluster != nil {
		errs = append(errs, s.cluster.Stop())
	}
	return errors.Join(errs...)
}

// exited returns an error as soon as one of the processes exits by itself.
func (s *stack) exited() error {
	return errors.Join(s.cluster.Exited(), s.registry.Exited(), s.cache.Exited(), s.manager.Exited())
}
