package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/bench/measure"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

const (
	// backstopContainers is the number of containers of a Deployment.
	backstopContainers = 20
	// unbackstopped is the namespace that the policy of testdata/backstop leaves out.
	unbackstopped = "unbackstopped"
)

// backstopCreates is how many Deployments of each sort are created, in dry runs, in each namespace.
var backstopCreates = measure.FullOrShort(150, 3)

// backstopNamespaces are the ones with the policy: how many Tags they have, and what the policy may cost there, for a
// workload that did not opt in and for one that did. The API server evaluates the policy for each Tag of the namespace.
var backstopNamespaces = []struct {
	name            string
	tags            int
	most, annotated time.Duration
}{
	{"few", 10, 3 * time.Millisecond, 5 * time.Millisecond},
	{"many", measure.FullOrShort(500, 20), 50 * time.Millisecond, 100 * time.Millisecond},
}

// backstopSorts are the Deployments: the first container's image, and whether it opts in.
var backstopSorts = []struct {
	name, image string
	annotated   bool
}{
	{"not annotated", "quay.io/company/app:1", false},
	{"pinned already", "quay.io/company/app@sha256:0000000000000000000000000000000000000000000000000000000000000000", true},
	{"naming a Tag, webhook up", "tag-0", true},
}

// measureBackstop measures the cost of the admission policy at the creation of a Deployment.
func measureBackstop(ctx context.Context, report *measure.Report) (err error) {
	dir, err := os.MkdirTemp("", "tagger-bench-")
	if err != nil {
		return err
	}
	bench := &backstopBench{dir: dir}
	defer func() { err = errors.Join(err, bench.stop(), os.RemoveAll(dir)) }()
	if err := bench.start(ctx); err != nil {
		return err
	}
	if err := bench.fill(ctx); err != nil {
		return err
	}
	return bench.measure(ctx, report)
}

// backstopBench is a control plane with the manager, and a registry.
type backstopBench struct {
	dir   string
	api   client.Client
	tag   string
	stops []func() error
}

// stop stops everything, the last started first.
func (b *backstopBench) stop() error {
	var problems []error
	for i := range b.stops {
		problems = append(problems, b.stops[len(b.stops)-1-i]())
	}
	return errors.Join(problems...)
}

func (b *backstopBench) start(ctx context.Context) error {
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	control, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(b.dir, "cluster")})
	if err != nil {
		return err
	}
	b.stops = append(b.stops, control.Stop)
	registry, err := cluster.StartRegistry(ctx, cluster.RegistryOptions{Dir: filepath.Join(b.dir, "registry")})
	if err != nil {
		return err
	}
	b.stops = append(b.stops, registry.Stop)
	b.tag = registry.Address + "/company/app:latest"
	if _, err := cluster.PushImage(ctx, b.tag, "app"); err != nil {
		return err
	}
	conf := filepath.Join(b.dir, "registries.conf")
	if err := harness.WriteRegistriesConf(conf, registry.Address); err != nil {
		return err
	}
	webhook, err := cluster.NewWebhook(filepath.Join(b.dir, "webhook"))
	if err != nil {
		return err
	}
	if err := cluster.InstallFrom(ctx, control, filepath.Join(root, "test", "bench", "testdata", "backstop"), webhook.Endpoint); err != nil {
		return err
	}
	manager, err := cluster.StartManager(ctx, cluster.ManagerOptions{Dir: filepath.Join(b.dir, "manager"), Cluster: control, Webhook: webhook, RegistriesConf: conf})
	if err != nil {
		return err
	}
	b.stops = append(b.stops, manager.Stop)
	return b.connect(control)
}

func (b *backstopBench) connect(control *cluster.Cluster) error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	config := control.Config
	config.QPS = -1 // otherwise the client would limit the benchmark
	config.WarningHandler = rest.NoWarnings{}
	api, err := client.New(config, client.Options{Scheme: scheme})
	b.api = api
	return err
}

// fill creates the Tags, waits for their imports, and then for the policy.
func (b *backstopBench) fill(ctx context.Context) error {
	tags := map[string]int{unbackstopped: backstopNamespaces[len(backstopNamespaces)-1].tags}
	for _, namespace := range backstopNamespaces {
		tags[namespace.name] = namespace.tags
	}
	for namespace, count := range tags {
		if err := b.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
			return err
		}
		for i := range count {
			tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("tag-%d", i)}, Spec: v1.TagSpec{From: b.tag}}
			if err := b.api.Create(ctx, tag); err != nil {
				return err
			}
		}
	}
	imported := func(ctx context.Context) (bool, error) {
		var tags v1.TagList
		if err := b.api.List(ctx, &tags); err != nil {
			return false, err
		}
		for i := range tags.Items {
			if !tags.Items[i].IsReady() {
				return false, nil
			}
		}
		return true, nil
	}
	if err := wait.PollUntilContextTimeout(ctx, time.Second, 3*time.Minute, true, imported); err != nil {
		return fmt.Errorf("waiting for the Tags: %w", err)
	}
	return b.waitForPolicy(ctx)
}

// waitForPolicy waits until the policy rejects a request. The webhook of this installation excludes objects with Tagger's
// label, and the policy does not.
func (b *backstopBench) waitForPolicy(ctx context.Context) error {
	refused := func(ctx context.Context) (bool, error) {
		probe := b.deployment(backstopNamespaces[0].name, "tag-0", true)
		probe.Labels = map[string]string{"app.kubernetes.io/name": "tagger"}
		return b.api.Create(ctx, probe, client.DryRunAll) != nil, nil
	}
	if err := wait.PollUntilContextTimeout(ctx, time.Second, 2*time.Minute, true, refused); err != nil {
		return fmt.Errorf("waiting for the policy: %w", err)
	}
	return nil
}

// measure creates the Deployments of all sorts alternately, with the policy and without, and reports the averages.
func (b *backstopBench) measure(ctx context.Context, report *measure.Report) error {
	average := map[string]time.Duration{}
	for range backstopCreates {
		for _, sort := range backstopSorts {
			for _, namespace := range []string{unbackstopped, backstopNamespaces[0].name, backstopNamespaces[1].name} {
				deployment := b.deployment(namespace, sort.image, sort.annotated)
				start := time.Now()
				if err := b.api.Create(ctx, deployment, client.DryRunAll); err != nil {
					return fmt.Errorf("creating a Deployment, %s: %w", sort.name, err)
				}
				average[namespace+sort.name] += time.Since(start) / time.Duration(backstopCreates)
			}
		}
	}
	for _, sort := range backstopSorts {
		without := average[unbackstopped+sort.name]
		report.Note("backstop: Deployment of 20 containers, "+sort.name+", created without it", measure.Readable(without))
		for _, namespace := range backstopNamespaces {
			most := namespace.most
			if sort.annotated {
				most = namespace.annotated
			}
			report.Duration(fmt.Sprintf("backstop: more than that with it, %d Tags in the namespace", namespace.tags), average[namespace.name+sort.name]-without, most)
		}
	}
	return nil
}

// deployment has its image in the first container, and images of a registry in the others.
func (b *backstopBench) deployment(namespace, image string, annotated bool) *appsv1.Deployment {
	labels := map[string]string{"app": "app"}
	containers := []corev1.Container{{Name: "app", Image: image}}
	for i := range backstopContainers - 1 {
		containers = append(containers, corev1.Container{Name: fmt.Sprintf("side-%d", i), Image: "quay.io/company/side:1"})
	}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: containers}},
		},
	}
	if annotated {
		deployment.Annotations = map[string]string{v1.AnnotationEnabled: "true"}
	}
	return deployment
}
