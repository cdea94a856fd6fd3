//go:build faults

package outage

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// namespace is the namespace of every test, on a control plane of its own.
const namespace = "default"

// The promise is to converge within promised; tests wait three times as long, and print the time.
const (
	promised = 30 * time.Second
	patience = 3 * promised
)

// world is a control plane, a registry, and their user.
type world struct {
	t        *testing.T
	dir      string
	cluster  *cluster.Cluster
	admin    client.WithWatch
	registry *countingRegistry
	// conf is the path of a registries.conf that allows the registry.
	conf string
	// images has the image of each generation of each Tag.
	images map[string][]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), registry: newRegistry(t), images: map[string][]string{}}
	var err error
	if w.cluster, err = cluster.Start(t.Context(), cluster.Options{Dir: filepath.Join(w.dir, "cluster")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.cluster.Stop(); err != nil {
			t.Errorf("stop the control plane: %v", err)
		}
	})
	if w.admin, err = client.NewWithWatch(w.cluster.Config, client.Options{Scheme: harness.Scheme()}); err != nil {
		t.Fatal(err)
	}
	w.conf = filepath.Join(w.dir, "registries.conf")
	w.do(harness.WriteRegistriesConf(w.conf, w.registry.address))
	return w
}

// webhook creates an endpoint for a manager.
func (w *world) webhook(name string) *cluster.Webhook {
	w.t.Helper()
	webhook, err := cluster.NewWebhook(filepath.Join(w.dir, name, "webhook"))
	if err != nil {
		w.t.Fatal(err)
	}
	return webhook
}

// install installs Tagger, with webhooks at the endpoint.
func (w *world) install(webhook *cluster.Webhook) {
	w.t.Helper()
	if err := cluster.Install(w.t.Context(), w.cluster, webhook.Endpoint); err != nil {
		w.t.Fatal(err)
	}
}

// options returns those of a manager with more flags.
func (w *world) options(name string, webhook *cluster.Webhook, args ...string) cluster.ManagerOptions {
	return cluster.ManagerOptions{
		Dir: filepath.Join(w.dir, name), Cluster: w.cluster, Webhook: webhook, RegistriesConf: w.conf, Args: args,
	}
}

// manager starts bin/manager, which the end of the test stops.
func (w *world) manager(options cluster.ManagerOptions) *cluster.Manager {
	w.t.Helper()
	manager, err := cluster.StartManager(w.t.Context(), options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.tail(manager.Log); _ = manager.Stop() })
	return manager
}

// behind starts a manager that reaches the API server through a proxy only.
func (w *world) behind(webhook *cluster.Webhook) *proxy {
	w.t.Helper()
	p, kubeconfig := w.proxied()
	w.manager(w.options("manager", webhook, kubeconfig))
	return p
}

// proxied starts a proxy, and returns the flag of a manager that uses it.
func (w *world) proxied() (p *proxy, kubeconfig string) {
	w.t.Helper()
	config, err := w.cluster.ServiceAccountConfig(cluster.Namespace, cluster.ServiceAccount)
	if err != nil {
		w.t.Fatal(err)
	}
	p = newProxy(w.t, config)
	path := filepath.Join(w.dir, "proxy.kubeconfig")
	if err := cluster.WriteKubeconfig(path, p.config()); err != nil {
		w.t.Fatal(err)
	}
	return p, "--kubeconfig=" + path
}

// tail prints the end of a log if the test failed: its folder is removed with the test.
func (w *world) tail(path string) {
	if !w.t.Failed() {
		return
	}
	if text, err := os.ReadFile(path); err == nil {
		w.t.Logf("the end of %s:\n%s", filepath.Base(filepath.Dir(path)), text[max(0, len(text)-6000):])
	}
}

// tags creates Tags and waits for their first import.
func (w *world) tags(count int) []string {
	w.t.Helper()
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("tag-%d", i)
		w.push(names[i])
		tag := newTag(names[i])
		tag.Spec.From = w.source(names[i])
		w.do(w.admin.Create(w.t.Context(), tag))
	}
	w.eventually("the first imports", func(ctx context.Context) error { return w.standAt(ctx, names) })
	return names
}

func (w *world) source(tag string) string { return w.registry.address + "/" + tag + ":latest" }

// push pushes the build of the Tag's next generation.
func (w *world) push(tag string) {
	w.t.Helper()
	digest, err := cluster.PushImage(w.t.Context(), w.source(tag), fmt.Sprint(tag, " ", len(w.images[tag])))
	if err != nil {
		w.t.Fatal(err)
	}
	w.images[tag] = append(w.images[tag], w.registry.address+"/"+tag+"@"+digest)
}

// move pushes a build for each Tag and selects its generation.
func (w *world) move(tags ...string) {
	w.t.Helper()
	for _, name := range tags {
		w.push(name)
		w.request(name)
	}
}

// request selects the generation of the Tag's newest build, as kubectl tag does.
func (w *world) request(name string) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"%d"}}}`, v1.AnnotationRequestedGeneration, len(w.images[name])-1)
	w.do(w.admin.Patch(w.t.Context(), newTag(name), mergePatch(patch), client.FieldOwner("kubectl-tag")))
}

func newTag(name string) *v1.Tag {
	return &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func mergePatch(patch string) client.Patch {
	return client.RawPatch(types.MergePatchType, []byte(patch))
}

// deployments creates a Deployment for each Tag, of the same name.
func (w *world) deployments(tags ...string) {
	w.t.Helper()
	for _, tag := range tags {
		w.do(w.admin.Create(w.t.Context(), deployment(tag, tag)))
	}
}

func deployment(name, image string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{v1.AnnotationEnabled: "true"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
			},
		},
	}
}

// standAt returns an error unless each Tag is Ready at its newest generation, and has each generation once, with its image.
func (w *world) standAt(ctx context.Context, tags []string) error {
	for _, name := range tags {
		var tag v1.Tag
		if err := w.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &tag); err != nil {
			return err
		}
		var got, want []string
		for _, ref := range tag.Status.References {
			got = append(got, fmt.Sprint(ref.Generation, " ", ref.ImageReference))
		}
		for generation, image := range w.images[name] {
			want = append([]string{fmt.Sprint(generation, " ", image)}, want...)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("Tag %s has %v, want %v", name, got, want)
		}
		if newest := int64(len(want) - 1); tag.Status.Generation == nil || *tag.Status.Generation != newest || !tag.IsReady() {
			return fmt.Errorf("Tag %s is not Ready at generation %d: %+v", name, newest, tag.Status)
		}
	}
	return nil
}

// follow returns an error unless each Tag's Deployment has the image of its newest generation, and its template was
// written that many times, its creation counted.
func (w *world) follow(ctx context.Context, tags []string, writes int64) error {
	for _, name := range tags {
		var deployment appsv1.Deployment
		if err := w.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &deployment); err != nil {
			return err
		}
		want := w.images[name][len(w.images[name])-1]
		if got := deployment.Spec.Template.Spec.Containers[0].Image; got != want {
			return fmt.Errorf("Deployment %s has %s, want %s", name, got, want)
		}
		if deployment.Generation != writes {
			return fmt.Errorf("the spec of Deployment %s was written %d times, want %d", name, deployment.Generation, writes)
		}
	}
	return nil
}

// converges waits until the Tags and their Deployments have their newest generations, and prints the time.
func (w *world) converges(after string, tags []string, writes int64) {
	w.t.Helper()
	start := time.Now()
	w.eventually("convergence after "+after, func(ctx context.Context) error {
		if err := w.standAt(ctx, tags); err != nil {
			return err
		}
		return w.follow(ctx, tags, writes)
	})
	w.t.Logf("%d Tags and their Deployments converged %.1f s after %s; the promise is %s", len(tags), time.Since(start).Seconds(), after, promised)
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func (w *world) eventually(what string, condition func(context.Context) error) {
	w.t.Helper()
	harness.Eventually(w.t, what, patience, condition)
}

// throughout repeats a request until the time is over, and returns the number of successes, and the errors.
func throughout(ctx context.Context, duration, every time.Duration, ask func(context.Context) error) (answered int, errs []error) {
	_ = wait.PollUntilContextTimeout(ctx, every, duration, true, func(context.Context) (bool, error) {
		if err := ask(ctx); err != nil {
			errs = append(errs, err)
		} else {
			answered++
		}
		return false, nil // until the time is over, which is the error
	})
	return answered, errs
}

// countingRegistry is a registry in this process that counts requests, and can be slow.
type countingRegistry struct {
	address string
	// hangUp ends every connection.
	hangUp func()

	mu    sync.Mutex
	asked map[string]int // the manager's requests for a manifest, by repository
	slow  func(*http.Request)
}

func newRegistry(t *testing.T) *countingRegistry {
	t.Helper()
	r := &countingRegistry{asked: map[string]int{}}
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.count(request)
		images.ServeHTTP(w, request)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	r.hangUp = server.CloseClientConnections
	r.address = strings.TrimPrefix(server.URL, "http://")
	return r
}

func (r *countingRegistry) count(request *http.Request) {
	repository, _, ok := strings.Cut(strings.TrimPrefix(request.URL.Path, "/v2/"), "/manifests/")
	if !ok || !strings.HasPrefix(request.UserAgent(), "tagger/") { // clients that push send requests, too
		return
	}
	r.mu.Lock()
	r.asked[repository]++
	slow := r.slow
	r.mu.Unlock()
	if slow != nil {
		slow(request)
	}
}

// slowDown sets a function that is called before each response with a manifest to the manager.
func (r *countingRegistry) slowDown(slow func(*http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slow = slow
}

// requests returns the number of the manager's requests for a Tag's manifest.
func (r *countingRegistry) requests(tag string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[tag]
}
