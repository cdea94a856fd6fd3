package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/test/cluster"
)

// helms are the programs in bin/, built from the modules of Helm 3 and Helm 4.
var helms = []string{"helm3", "helm4"}

// tool runs a program of bin/ against the cluster, and returns its output.
func (u *user) tool(stdin, name string, args ...string) (string, error) {
	u.t.Helper()
	root, err := cluster.Root()
	if err != nil {
		u.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(u.t.Context(), 2*patience)
	defer cancel()
	home := u.t.TempDir()
	command := exec.CommandContext(ctx, filepath.Join(root, "bin", name), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+world.cluster.Kubeconfig, "HELM_NAMESPACE="+u.namespace,
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	command.Stdin = strings.NewReader(stdin)
	output, err := command.CombinedOutput()
	return string(output), err
}

// works is tool for a command that has to succeed.
func (u *user) works(name string, args ...string) string {
	u.t.Helper()
	output, err := u.tool("", name, args...)
	if err != nil {
		u.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return output
}

// chart writes a chart with these templates, and returns its folder.
func (u *user) chart(templates ...string) string {
	u.t.Helper()
	folder := u.t.TempDir()
	for name, text := range map[string]string{
		"Chart.yaml":         "apiVersion: v2\nname: myapp\nversion: 1.0.0\n",
		"templates/all.yaml": strings.Join(templates, "---\n"),
	} {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			u.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			u.t.Fatal(err)
		}
	}
	return folder
}

// imagesOfPods watches the pods of the namespace from now on. The returned function ends the watch, and returns every image
// that a pod had.
func (u *user) imagesOfPods() func() map[string]bool {
	u.t.Helper()
	api, err := client.NewWithWatch(world.cluster.Config, client.Options{})
	if err != nil {
		u.t.Fatal(err)
	}
	pods, err := api.Watch(u.t.Context(), &corev1.PodList{}, client.InNamespace(u.namespace))
	if err != nil {
		u.t.Fatal(err)
	}
	seen := map[string]bool{}
	var done sync.WaitGroup
	done.Go(func() {
		for event := range pods.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok && event.Type != watch.Deleted {
				for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
					seen[container.Image] = true
				}
			}
		}
	})
	return func() map[string]bool {
		pods.Stop()
		done.Wait()
		return seen
	}
}

// onlyTags fails the test for an image that is neither pinned nor the placeholder. ReplicaSets are kept, so they need no watch.
func (u *user) onlyTags(images map[string]bool) {
	u.t.Helper()
	for _, image := range strings.Fields(u.kubectl("get replicasets -o jsonpath={.items[*]" + containerImage + "}")) {
		images[image] = true
	}
	if len(images) == 0 {
		u.t.Error("no pod had an image")
	}
	for image := range images {
		if image != "not-imported.invalid/"+u.namespace+"/myapp" && !strings.Contains(image, "@sha256:") {
			u.t.Errorf("a pod had the image %s", image)
		}
	}
}

// hook makes a manifest a hook of Helm.
func hook(manifest, when string) string {
	if !strings.Contains(manifest, "  annotations:\n") {
		manifest = strings.Replace(manifest, "metadata:\n", "metadata:\n  annotations:\n", 1)
	}
	return strings.Replace(manifest, "  annotations:\n", "  annotations:\n    helm.sh/hook: "+when+"\n", 1)
}

// TestAChartInOneRun installs a Tag and its workloads. Helm creates custom resources last.
func TestAChartInOneRun(t *testing.T) {
	for _, helm := range helms {
		t.Run(helm, func(t *testing.T) {
			u := newUser(t)
			image := u.push("build 0")
			chart := u.chart(tagYAML("myapp", u.source(), "generation: 0"), deploymentYAML("web", "myapp"),
				statefulSetYAML("db", "myapp"), cronJobYAML("cron", "myapp"), hook(jobYAML("job", "myapp"), "post-install"))
			images := u.imagesOfPods()
			u.works(helm, "install", "--wait", "--timeout=90s", "myapp", chart)
			u.onlyTags(images())
			for object, path := range map[string]string{
				"deployment/web": containerImage, "statefulset/db": containerImage, "cronjob/cron": ".spec.jobTemplate" + containerImage,
				"job/job": containerImage, "pod/db-0": ".spec.containers[0].image",
			} {
				if got := u.get(object, path); got != image {
					t.Errorf("the image of %s is %s, want %s", object, got, image)
				}
			}
		})
	}
}

// TestAJobOfAChartIsRefusedBeforeItsTag: Helm creates the Job first, and waits for nothing.
func TestAJobOfAChartIsRefusedBeforeItsTag(t *testing.T) {
	for _, helm := range helms {
		t.Run(helm, func(t *testing.T) {
			u := newUser(t)
			u.push("build 0")
			chart := u.chart(tagYAML("myapp", u.source()), jobYAML("job", "myapp"))
			output, err := u.tool("", helm, "install", "--timeout=90s", "myapp", chart)
			if err == nil {
				t.Errorf("helm install works:\n%s", output)
			}
			u.has(output, "Tag myapp has no import yet", "apply again when it is Ready")
		})
	}
}

// TestAChartIsUpgradedAndRolledBack tests the rules of docs/gitops.md for the generation in a chart.
func TestAChartIsUpgradedAndRolledBack(t *testing.T) {
	for _, helm := range helms {
		t.Run(helm, func(t *testing.T) {
			u := newUser(t)
			first := u.push("build 0")
			release := func(verb string, generation string, args ...string) {
				t.Helper()
				chart := u.chart(tagYAML("myapp", u.source(), "generation: "+generation, "historyLimit: 2"), deploymentYAML("web", "myapp"))
				u.works(helm, append([]string{verb, "--wait", "--timeout=90s", "myapp", chart}, args...)...)
			}
			release("install", "0")
			second := u.moved("myapp", 1)
			u.becomes("deployment/web", containerImage, second)

			release("upgrade", "0") // revision 2 repeats the generation
			if got := u.get("deployment/web", containerImage); got != second {
				t.Errorf("the image is %s, want %s", got, second)
			}
			u.push("build 2")
			release("upgrade", "2") // revision 3 requests one
			u.becomes("tag/myapp", ".status.generation", "2")

			output, err := u.tool("", helm, "rollback", "myapp", "2")
			if err == nil {
				t.Errorf("a rollback to generation 0, which is trimmed, works:\n%s", output)
			}
			u.has(output, "generation 0 is not one of the imported generations (2, 1)")
			if got := u.get("tag/myapp", ".status.references[*].generation"); got != "2 1" || strings.Contains(got, first) {
				t.Errorf("the generations are %s, want 2 1", got)
			}
		})
	}
}

// TestATagAsAHookLosesItsGenerations: Helm deletes a hook, and creates it again.
func TestATagAsAHookLosesItsGenerations(t *testing.T) {
	for _, helm := range helms {
		t.Run(helm, func(t *testing.T) {
			u := newUser(t)
			u.push("build 0")
			tag := hook(tagYAML("myapp", u.source(), "generation: 0"), "pre-install,pre-upgrade")
			chart := u.chart(tag, deploymentYAML("web", "myapp"))
			u.works(helm, "install", "myapp", chart)
			u.becomes("tag/myapp", ".status.generation", "0")
			second := u.moved("myapp", 1)
			u.works(helm, "upgrade", "myapp", chart)
			u.becomes("tag/myapp", ".status.references[*].imageReference", second)
			if got := u.get("tag/myapp", ".status.references[*].generation"); got != "0" {
				t.Errorf("the generations are %s, want just 0", got)
			}
		})
	}
}
