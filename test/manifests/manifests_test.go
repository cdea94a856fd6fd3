// Package manifests tests the promises of the shipped manifests, on an API server without a manager.
package manifests

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

const startLimit = 3 * time.Minute

var control *cluster.Cluster

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if control, err = cluster.Start(ctx, cluster.Options{}); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, control.Stop()
}

func kubectl(t *testing.T, stdin, line string) (string, error) {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--kubeconfig", control.Kubeconfig}, strings.Fields(line)...)
	command := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "kubectl"), args...)
	command.Dir, command.Stdin = root, strings.NewReader(stdin)
	output, err := command.CombinedOutput()
	return string(output), err
}

func must(t *testing.T, stdin, line string) string {
	t.Helper()
	output, err := kubectl(t, stdin, line)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", line, err, output)
	}
	return output
}

// installed applies config/default as a user would. No manager serves its webhooks.
func installed(t *testing.T) {
	t.Helper()
	must(t, "", "apply -k config/default")
	must(t, "", "wait --for=condition=Established crd/tags.images.io --timeout=60s")
}

func TestConfigDefaultAppliesTwice(t *testing.T) {
	installed(t)
	const versions = "get -k config/default -o jsonpath={.items[*].metadata.resourceVersion}"
	before := must(t, "", versions)
	must(t, "", "apply -k config/default")
	if after := must(t, "", versions); after != before {
		t.Errorf("applied again, objects changed:\n%s\nbefore:\n%s", after, before)
	}
	for _, object := range []string{
		"deployment/tagger-controller-manager", "poddisruptionbudget/tagger-controller-manager", "service/tagger-webhook-service",
		"serviceaccount/tagger-controller-manager",
	} {
		must(t, "", "get --namespace tagger-system "+object)
	}
}

// TestAnotherPrefixReachesTheCertificate renames everything, as an overlay would.
func TestAnotherPrefixReachesTheCertificate(t *testing.T) {
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Rel(overlay, filepath.Join(root, "config", "default"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte("namespace: ours\nnamePrefix: our-\nresources: ["+base+"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rendered := must(t, "", "kustomize "+overlay)
	for _, name := range []string{"our-tagger-mutating-webhook-configuration", "our-tagger-validating-webhook-configuration"} {
		if count := strings.Count(rendered, " "+name+"\n"); count != 3 {
			t.Errorf("%s is written %d times; want it in the configuration itself, in the role and in the manager's environment", name, count)
		}
	}
	for _, never := range []string{" mutating-webhook-configuration\n", " tagger-mutating-webhook-configuration\n", " validating-webhook-configuration\n"} {
		if strings.Contains(rendered, never) {
			t.Errorf("%q is left", never)
		}
	}
}

// TestManagerReadsOneConfigMapOnly asks the API server's own authorizer.
func TestManagerReadsOneConfigMapOnly(t *testing.T) {
	installed(t)
	const as = " --as=system:serviceaccount:tagger-system:tagger-controller-manager"
	for line, want := range map[string]string{
		"auth can-i watch configmaps/local-registry-hosting --namespace kube-public":  "yes",
		"auth can-i list configmaps/local-registry-hosting --namespace kube-public":   "yes",
		"auth can-i list configmaps --namespace kube-public":                          "no",
		"auth can-i list configmaps/local-registry-hosting --namespace tagger-system": "no",
		"auth can-i update configmaps/local-registry-hosting --namespace kube-public": "no",
		"auth can-i list replicasets.apps --namespace default":                        "yes",
		"auth can-i delete replicasets.apps --namespace default":                      "no",
	} {
		if output, _ := kubectl(t, "", line+as); strings.TrimSpace(output) != want { // it exits with an error for the answer no
			t.Errorf("kubectl %s says %q, want %s", line, output, want)
		}
	}
}

func TestManagerPodIsRestricted(t *testing.T) {
	installed(t)
	var deployment struct {
		Spec struct{ Template json.RawMessage }
	}
	if err := json.Unmarshal([]byte(must(t, "", "get deployment tagger-controller-manager --namespace tagger-system -o json")), &deployment); err != nil {
		t.Fatal(err)
	}
	var pod map[string]any
	if err := json.Unmarshal(deployment.Spec.Template, &pod); err != nil {
		t.Fatal(err)
	}
	pod["apiVersion"], pod["kind"] = "v1", "Pod"
	pod["metadata"].(map[string]any)["name"] = "manager"
	manifest, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	must(t, string(manifest), "create --namespace tagger-system --dry-run=server -f -")
}

// TestWebhookIsCalledForItsObjectsOnly relies on the missing manager: requests that call the webhook fail.
func TestWebhookIsCalledForItsObjectsOnly(t *testing.T) {
	withoutWebhooks(t)
	must(t, deployment("plain", "", "nginx:1"), "apply -f -")
	must(t, deployment("tagged", `image-tag: "true"`, "nginx:1"), "apply -f -")
	must(t, deployment("refused", `image-tag: "false"`, "nginx:1"), "apply -f -")
	installed(t)
	eventually(t, "the webhook to be asked", func() error {
		if output, err := kubectl(t, deployment("probe", `image-tag: "true"`, "myapp"), "create --dry-run=server -f -"); err == nil {
			return fmt.Errorf("it is not: %s", output)
		}
		return nil
	})
	for name, row := range map[string]struct {
		stdin, line string
		asked       bool
	}{
		"an annotated Deployment is made":       {deployment("new", `image-tag: "true"`, "myapp"), "create --dry-run=server -f -", true},
		"its image changes":                     {"", "set image deployment/tagged app=nginx:2 --dry-run=server", true},
		"an annotation of ours changes":         {"", "annotate deployment/tagged images.io/requested={} --dry-run=server", true},
		"it opts out":                           {"", "annotate deployment/tagged image-tag- --dry-run=server", true},
		"another opts in":                       {"", "annotate deployment/plain image-tag=true --dry-run=server", true},
		"it is labelled":                        {"", "label deployment/tagged a=b --dry-run=server", false},
		"it is scaled":                          {"", "scale deployment/tagged --replicas=2", false},
		"it is deleted in the foreground":       {"", "delete deployment/tagged --cascade=foreground --dry-run=server", false},
		"one without the annotation is made":    {deployment("new", "", "myapp"), "create --dry-run=server -f -", false},
		"one without the annotation changes":    {"", "set image deployment/plain app=nginx:2 --dry-run=server", false},
		"one with another value of it changes":  {"", "set image deployment/refused app=nginx:2 --dry-run=server", false},
		"one is made in Tagger's own namespace": {deployment("new", `image-tag: "true"`, "myapp"), "create --namespace tagger-system --dry-run=server -f -", false},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := kubectl(t, row.stdin, row.line)
			if asked := strings.Contains(output, "failed calling webhook"); asked != row.asked || (err != nil) != row.asked {
				t.Errorf("asked: %v, want %v: %v\n%s", asked, row.asked, err, output)
			}
		})
	}
}

func TestTheSchemaHoldsWhileNoManagerRuns(t *testing.T) {
	installed(t)
	withoutWebhooks(t)
	must(t, tag("history", "generation: 4"), "apply -f -")
	status := `{"status":{"generation":4,"references":[{"generation":4,"from":"a","importedAt":"2026-01-01T00:00:00Z","imageReference":"b"},{"generation":3,"from":"a","importedAt":"2026-01-01T00:00:00Z","imageReference":"b"}]}}`
	must(t, "", "patch tag/history --subresource=status --type=merge -p "+status)
	for name, row := range map[string]struct {
		stdin, line, says string
	}{
		"a known generation":              {"", `patch tag/history --type=merge --dry-run=server -p {"spec":{"generation":3}}`, ""},
		"the newest plus 1":               {"", `patch tag/history --type=merge --dry-run=server -p {"spec":{"generation":5}}`, ""},
		"a skipped one":                   {"", `patch tag/history --type=merge --dry-run=server -p {"spec":{"generation":6}}`, "one of the generations in status.references"},
		"one that is not kept":            {"", `patch tag/history --type=merge --dry-run=server -p {"spec":{"generation":2}}`, "one of the generations in status.references"},
		"any on create":                   {tag("restored", "generation: 7"), "create --dry-run=server -f -", ""},
		"no registry":                     {tag("x", "from: my_app"), "create --dry-run=server -f -", ""},
		"a registry with a port":          {tag("x", "from: localhost:5000/a/b_c/d__e:1.0"), "create --dry-run=server -f -", ""},
		"a registry with an IPv6 address": {tag("x", `from: "[::1]:5000/a:1.0"`), "create --dry-run=server -f -", ""},
		"a digest":                        {tag("x", "from: quay.io/a/b:1.0@sha256:"+strings.Repeat("a", 64)), "create --dry-run=server -f -", ""},
		"an uppercase repository":         {tag("x", "from: quay.io/Company/myapp"), "create --dry-run=server -f -", "lower case"},
		"two tags":                        {tag("x", "from: quay.io/a/b:c:d"), "create --dry-run=server -f -", "must be an image reference"},
		"a scheme":                        {tag("x", "from: https://quay.io/a"), "create --dry-run=server -f -", "must be an image reference"},
		"an interval of a minute":         {tag("x", "interval: 1m"), "create --dry-run=server -f -", ""},
		"an interval of 59 seconds":       {tag("x", "interval: 59s"), "create --dry-run=server -f -", "at least 1m"},
		"a name that is no DNS label":     {tag("a.b"), "create --dry-run=server -f -", "DNS label"},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := kubectl(t, row.stdin, row.line)
			if (err != nil) != (row.says != "") || !strings.Contains(output, row.says) {
				t.Errorf("kubectl says %q (%v), want %q", output, err, row.says)
			}
		})
	}
}

// withoutWebhooks removes the webhooks, as before an installation.
func withoutWebhooks(t *testing.T) {
	t.Helper()
	must(t, "", "delete --ignore-not-found mutatingwebhookconfiguration/tagger-mutating-webhook-configuration validatingwebhookconfiguration/tagger-validating-webhook-configuration")
	eventually(t, "no webhook to be called", func() error {
		output, err := kubectl(t, deployment("probe", `image-tag: "true"`, "nginx:1"), "create --dry-run=server -f -")
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	})
}

func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	harness.Eventually(t, what, time.Minute, func(context.Context) error { return condition() })
}

func deployment(name, annotation, image string) string {
	if annotation == "" {
		annotation = `other: "x"`
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  annotations:
    %[2]s
spec:
  replicas: 0
  selector:
    matchLabels:
      app: %[1]s
  template:
    metadata:
      labels:
        app: %[1]s
    spec:
      containers:
      - name: app
        image: %[3]s
`, name, annotation, image)
}

// tag is a manifest with these lines in its spec.
func tag(name string, spec ...string) string {
	lines := strings.Join(spec, "\n  ")
	if !strings.Contains(lines, "from:") {
		lines = "from: quay.io/company/myapp:latest\n  " + lines
	}
	return fmt.Sprintf("apiVersion: images.io/v1\nkind: Tag\nmetadata:\n  name: %s\nspec:\n  %s\n", name, lines)
}

// TestTheWebhookMayBeForTheAPIServerOnly: policies add up, so the component changes the one that ships.
func TestTheWebhookMayBeForTheAPIServerOnly(t *testing.T) {
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config, err := filepath.Rel(folder, filepath.Join(root, "config")) // kustomize requires relative paths
	if err != nil {
		t.Fatal(err)
	}
	overlay := fmt.Sprintf("resources: [%[1]s/default]\ncomponents: [%[1]s/components/api-server-only]\n", config)
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, must(t, "", "kustomize "+folder), "apply --server-side --force-conflicts -f -")
	sources := must(t, "", "get networkpolicies -n tagger-system -o jsonpath={.items[*].spec.ingress[?(@.ports[0].port==9443)].from[*].ipBlock.cidr}")
	if sources != "192.0.2.1/32" {
		t.Errorf("%q may reach the webhook", sources)
	}
}
