package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/bench/measure"
	"github.com/images-io/tagger/test/cluster"
)

// manager is Tagger as a process, with a control plane.
type manager struct {
	dir     string
	cluster *cluster.Cluster
	manager *cluster.Manager
	api     client.Client
}

// startManager starts Tagger with the site's mirror as its internal registry. It must be stopped even if it fails.
func startManager(ctx context.Context, s *site) (m *manager, err error) {
	m = &manager{}
	if m.dir, err = os.MkdirTemp("", "tagger-bench-"); err != nil {
		return m, err
	}
	measure.Progress("starting a control plane and the manager")
	if m.cluster, err = cluster.Start(ctx, cluster.Options{Dir: filepath.Join(m.dir, "cluster")}); err != nil {
		return m, err
	}
	webhook, err := cluster.NewWebhook(filepath.Join(m.dir, "webhook"))
	if err != nil {
		return m, err
	}
	if err := cluster.Install(ctx, m.cluster, webhook.Endpoint); err != nil {
		return m, err
	}
	m.manager, err = cluster.StartManager(ctx, cluster.ManagerOptions{
		Dir: filepath.Join(m.dir, "manager"), Cluster: m.cluster, Webhook: webhook,
		RegistriesConf: s.registriesConf(), CacheRegistry: s.mirror.address(),
	})
	if err != nil {
		return m, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return m, err
	}
	m.api, err = client.New(m.cluster.Config, client.Options{Scheme: scheme})
	return m, err
}

func (m *manager) stop() error {
	var problems []error
	if m.manager != nil {
		problems = append(problems, m.manager.Stop())
	}
	if m.cluster != nil {
		problems = append(problems, m.cluster.Stop())
	}
	return errors.Join(append(problems, os.RemoveAll(m.dir))...)
}
