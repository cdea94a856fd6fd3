package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/bench/measure"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// stand is a control plane, a registry, and the manager as a process of its own, as config/default installs it.
type stand struct {
	dir      string
	cluster  *cluster.Cluster
	registry *headRegistry
	manager  *cluster.Manager
	// config is the administrator's, without a rate limit; api is a client of it, and cache the watches of the benchmarks.
	config *rest.Config
	api    client.Client
	cache  cache.Cache

	watches      sync.WaitGroup
	stopWatching context.CancelFunc
}

// startStand starts a stand. It must be stopped even if it fails.
func startStand(ctx context.Context) (s *stand, err error) {
	watching, stopWatching := context.WithCancel(ctx)
	s = &stand{registry: newHeadRegistry(), stopWatching: stopWatching}
	if s.dir, err = os.MkdirTemp("", "tagger-bench-"); err != nil {
		return s, err
	}
	measure.Progress("starting a control plane and the manager")
	if s.cluster, err = cluster.Start(ctx, cluster.Options{Dir: filepath.Join(s.dir, "cluster")}); err != nil {
		return s, err
	}
	s.config = rest.CopyConfig(s.cluster.Config)
	s.config.QPS = -1
	scheme := runtime.NewScheme()
	if err = errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return s, err
	}
	if s.api, err = client.New(s.config, client.Options{Scheme: scheme}); err != nil {
		return s, err
	}
	if s.cache, err = cache.New(s.config, cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()}); err != nil {
		return s, err
	}
	s.watches.Go(func() { _ = s.cache.Start(watching) }) // it ends with its context, and logs errors
	return s, s.startManager(ctx)
}

func (s *stand) startManager(ctx context.Context) error {
	registriesConf := filepath.Join(s.dir, "registries.conf")
	if err := harness.WriteRegistriesConf(registriesConf, s.registry.address()); err != nil {
		return err
	}
	webhook, err := cluster.NewWebhook(filepath.Join(s.dir, "webhook"))
	if err != nil {
		return err
	}
	if err := cluster.Install(ctx, s.cluster, webhook.Endpoint); err != nil {
		return err
	}
	environment, err := shippedEnvironment()
	if err != nil {
		return err
	}
	s.manager, err = cluster.StartManager(ctx, cluster.ManagerOptions{
		Dir: filepath.Join(s.dir, "manager"), Cluster: s.cluster, Webhook: webhook, RegistriesConf: registriesConf, Env: environment,
	})
	return err
}

// shippedEnvironment returns the settings of config/manager for the Go runtime, and all others that it sets by value.
func shippedEnvironment() ([]string, error) {
	root, err := cluster.Root()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(root, "config", "manager", "manager.yaml"))
	if err != nil {
		return nil, err
	}
	var deployment appsv1.Deployment
	if err := yaml.Unmarshal(text, &deployment); err != nil {
		return nil, fmt.Errorf("reading the manager's manifest: %w", err)
	}
	var environment []string
	for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
		if variable.Value != "" {
			environment = append(environment, variable.Name+"="+variable.Value)
		}
	}
	return environment, nil
}

func (s *stand) stop() error {
	s.stopWatching() // otherwise the API server waits for its watches
	s.watches.Wait()
	var problems []error
	if s.manager != nil {
		problems = append(problems, s.manager.Stop())
	}
	if s.cluster != nil {
		problems = append(problems, s.cluster.Stop())
	}
	s.registry.server.Close()
	return errors.Join(append(problems, os.RemoveAll(s.dir))...)
}

// namespace creates a namespace.
func (s *stand) namespace(ctx context.Context, name string) error {
	return s.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// tag returns a Tag of a repository of its own.
func (s *stand) tag(namespace, name string) *v1.Tag {
	return &v1.Tag{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1.TagSpec{From: fmt.Sprintf("%s/%s/%s:latest", s.registry.address(), namespace, name)},
	}
}
