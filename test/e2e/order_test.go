package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func TestTagAndDeploymentInOneApply(t *testing.T) {
	for name, order := range map[string]func(tag, deployment string) string{
		"the Tag first":        func(tag, deployment string) string { return tag + "---\n" + deployment },
		"the Deployment first": func(tag, deployment string) string { return deployment + "---\n" + tag },
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			image := u.push("build 0")
			u.with(order(tagYAML("myapp", u.source(), "generation: 0"), deploymentYAML("app", "myapp")), "apply -f -")
			u.becomes("deployment/app", containerImage, image)
			u.kubectl("rollout status deployment/app --timeout=60s")
			if got := u.replicaSets("app"); got > 2 {
				t.Errorf("%d ReplicaSets, want at most 2", got)
			}
		})
	}
}

func TestADeploymentBeforeItsTag(t *testing.T) {
	u := newUser(t)
	output := u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.has(output, "Warning:", "there is no such Tag in namespace "+u.namespace)
	if got, want := u.get("deployment/app", containerImage), "not-imported.invalid/"+u.namespace+"/myapp"; got != want {
		t.Errorf("the image is %s, want %s", got, want)
	}
	image := u.imported("myapp")
	u.becomes("deployment/app", containerImage, image)
}

func TestADeploymentWhoseTagHasNoImport(t *testing.T) {
	u := newUser(t)
	u.with(tagYAML("myapp", u.source()), "apply -f -")
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "NotFound")
	output := u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.has(output, "Warning:", "no import yet (NotFound)")
	if got, want := u.get("deployment/app", containerImage), "not-imported.invalid/"+u.namespace+"/myapp"; got != want {
		t.Errorf("the image is %s, want %s", got, want)
	}
	image := u.push("build 0")
	u.becomes("deployment/app", containerImage, image)
	u.kubectl("rollout status deployment/app --timeout=60s")

	u.kubectl("delete tag/myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.kubectl("label deployment/app a=b")
	if got := u.get("deployment/app", containerImage); got != image {
		t.Errorf("after the Tag was deleted the image is %s, want %s", got, image)
	}
}

// emptyStatus are ways to clear the status of a Tag by hand, given its manifest.
var emptyStatus = map[string]func(u *user, manifest string){
	"kubectl patch": func(u *user, _ string) {
		u.kubectl(`patch tag/myapp --subresource=status --type=json -p [{"op":"remove","path":"/status"}]`)
	},
	"kubectl replace": func(u *user, manifest string) { u.with(manifest, "replace --subresource=status -f -") },
}

// TestStatusCleared_IsImportedAnew clears the status of a Tag after its registry has a newer build. The generation wanted is imported as
// the registry has it now, and no workload is admitted without a digest meanwhile.
func TestStatusCleared_IsImportedAnew(t *testing.T) {
	for name, empty := range emptyStatus {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			first := u.imported("myapp")
			u.with(deploymentYAML("app", "myapp"), "apply -f -")
			u.becomes("deployment/app", containerImage, first)
			u.push("build 2")
			empty(u, tagYAML("myapp", u.source()))
			u.eventually("generation 0 is imported anew", func() error {
				if got := u.get("tag/myapp", ".status.references[0].imageReference"); got == first || got == "" {
					return fmt.Errorf("it is %q", got)
				}
				return nil
			})
			second := u.get("tag/myapp", ".status.references[0].imageReference")
			u.admitsNothingBare(second)
			u.becomes("deployment/app", containerImage, second)
		})
	}
}

// admitsNothingBare creates, as a dry run, a Deployment that names the Tag.
func (u *user) admitsNothingBare(pinned string) {
	u.t.Helper()
	got := u.with(deploymentYAML("new", "myapp"), "create --dry-run=server -o jsonpath={"+containerImage+"} -f -")
	if placeholder := "not-imported.invalid/" + u.namespace + "/myapp"; !strings.Contains(got, pinned) && !strings.Contains(got, placeholder) {
		u.t.Errorf("the image is %q, want %s or %s", got, pinned, placeholder)
	}
}

func TestControllerRepairsWithoutTheWebhook(t *testing.T) {
	u := newUser(t)
	image := u.imported("myapp")
	excludeNamespace(u)
	u.with(deploymentYAML("app", "myapp"), "create -f -")
	u.becomes("deployment/app", containerImage, image)
	u.eventually("the event that says so", func() error {
		if events := u.kubectl("get events -o jsonpath={.items[*].reason}"); !strings.Contains(events, "WebhookNotCalled") {
			return fmt.Errorf("only %s", events)
		}
		return nil
	})
	u.kubectl("rollout status deployment/app --timeout=60s")
	if got := u.replicaSets("app"); got > 2 {
		t.Errorf("%d ReplicaSets, want at most 2", got)
	}
}

// excludeNamespace makes the API server skip the pinner for the user's namespace, and the backstop, too.
func excludeNamespace(u *user) {
	u.t.Helper()
	for object, selector := range map[string]string{
		"mutatingwebhookconfiguration/tagger-mutating-webhook-configuration": "/webhooks/0/namespaceSelector",
		"validatingadmissionpolicy/tagger-backstop":                          "/spec/matchConstraints/namespaceSelector",
	} {
		u.kubectl(`patch ` + object + ` --type=json -p [{"op":"add","path":"` + selector + `/matchExpressions/0/values/-","value":"` + u.namespace + `"}]`)
	}
	u.eventually("the API server to leave the webhook out", func() error {
		image, err := u.run(deploymentYAML("probe", "myapp"), "create", "--dry-run=server", "-o", "jsonpath={"+containerImage+"}", "-f", "-")
		if err == nil && !strings.HasPrefix(image, "myapp") {
			err = fmt.Errorf("it is called: %s", image)
		}
		return err
	})
}
