package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// writers create an object without server-side apply, and so own its fields by an update.
var writers = map[string]string{
	"kubectl apply, client-side": "apply -f -",
	"kubectl create":             "create -f -",
	"Helm 3":                     "create --field-manager=helm -f -",
}

func TestServerSideApplyAfterOtherWrites(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.push("build 0")
			tag, deployment, cronJob := tagYAML("myapp", u.source(), "generation: 0"), deploymentYAML("app", "myapp"), cronJobYAML("cron", "myapp")
			u.with(tag, write)
			u.becomes("tag/myapp", ".status.generation", "0")
			u.with(deployment, write)
			u.with(cronJob, write)
			second := u.moved("myapp", 1)
			u.becomes("deployment/app", containerImage, second)
			u.becomes("cronjob/cron", ".spec.jobTemplate"+containerImage, second)
			template := u.get("deployment/app", ".spec.template")
			manager := "kubectl"
			if strings.Contains(write, "helm") {
				manager = "helm"
			}
			for range 2 {
				u.with(tag, "apply --server-side --field-manager="+manager+" -f -")
				u.with(deployment, "apply --server-side --field-manager="+manager+" -f -")
				u.with(cronJob, "apply --server-side --field-manager="+manager+" -f -")
				u.with(tag, "diff --server-side --field-manager="+manager+" -f -")
				u.with(deployment, "diff --server-side --field-manager="+manager+" -f -")
			}
			if got := u.get("tag/myapp", ".spec.generation"); got != "1" {
				t.Errorf("the Tag wants generation %s, want 1", got)
			}
			if got := u.get("deployment/app", ".spec.template"); got != template {
				t.Errorf("the template is %s, want %s as before", got, template)
			}
		})
	}
}

func TestEditsOfThePinnedImageNoConflict(t *testing.T) {
	for name, edit := range map[string]string{
		"kubectl set image to the same name": "set image deployment/app app=myapp",
		"kubectl rollout undo":               "rollout undo deployment/app",
		"kubectl rollout restart":            "rollout restart deployment/app",
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.imported("myapp")
			manifest := deploymentYAML("app", "myapp")
			u.with(manifest, "apply --server-side -f -")
			u.kubectl("rollout status deployment/app --timeout=60s")
			second := u.moved("myapp", 1)
			u.becomes("deployment/app", containerImage, second)
			u.kubectl("rollout status deployment/app --timeout=60s")
			u.kubectl(edit)
			u.with(manifest, "apply --server-side -f -")
			if got := u.get("deployment/app", containerImage); got != second {
				t.Errorf("the image is %s, want %s", got, second)
			}
		})
	}
}

// TestRewriteOfManagedFields makes the request with which kubectl and Flux take over fields.
func TestRewriteOfManagedFields(t *testing.T) {
	u := newUser(t)
	u.push("build 0")
	manifest := tagYAML("myapp", u.source(), "generation: 0")
	const apply = "apply --server-side --field-manager=kustomize-controller --force-conflicts -f -"
	u.with(manifest, "create -f -")
	u.with(manifest, apply)
	u.becomes("tag/myapp", ".status.generation", "0")
	u.moved("myapp", 1)
	own := u.kubectl(`get tag/myapp --show-managed-fields -o jsonpath={.metadata.managedFields[?(@.operation=="Apply")]}`)
	u.kubectl(`patch tag/myapp --field-manager=kustomize-controller --type=json -p [{"op":"replace","path":"/metadata/managedFields","value":[` + own + `]}]`)
	if got := u.get("tag/myapp", `.metadata.annotations.images\.io/declared-generation`); got != "0" {
		t.Errorf("the declared generation is %s, want 0", got)
	}
	u.with(manifest, apply)
	if got := u.get("tag/myapp", ".spec.generation"); got != "1" {
		t.Errorf("the Tag wants generation %s, want 1", got)
	}
}

func TestManifestAdoptsTheGeneration(t *testing.T) {
	u := newUser(t)
	u.push("build 0")
	const apply = "apply --server-side --field-manager=kustomize-controller --force-conflicts -f -"
	u.with(tagYAML("myapp", u.source(), "generation: 0"), apply)
	u.becomes("tag/myapp", ".status.generation", "0")
	u.moved("myapp", 1)
	adopted := tagYAML("myapp", u.source(), "generation: 1")
	u.with(adopted, apply)
	u.moved("myapp", 2)
	u.with(adopted, apply)
	if got := u.get("tag/myapp", ".spec.generation"); got != "2" {
		t.Errorf("the Tag wants generation %s, want 2", got)
	}
}

func TestReplaceAfterAHandledCheck(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	u.kubectl("annotate tag/myapp images.io/requested-check=1")
	u.becomes("tag/myapp", ".status.lastHandledRequest", "1")
	u.push("build 1")
	u.with(tagYAML("myapp", u.source()), "replace -f -")
	u.kubectl("annotate tag/myapp images.io/requested-check=2") // its handling shows that the replace had no effect
	u.becomes("tag/myapp", ".status.lastHandledRequest", "2")
	if got := u.get("tag/myapp", ".status.references[*].trigger"); got != "Push Import" {
		t.Errorf("the triggers are %s, want Push Import", got)
	}
}

func TestATagWithoutASpecIsRefusedByName(t *testing.T) {
	u := newUser(t)
	for _, manifest := range []string{"", "spec:\n", "spec: {}\n"} {
		text := "apiVersion: images.io/v1\nkind: Tag\nmetadata:\n  name: bad\n" + manifest
		u.has(u.refused(text, "create -f -"), "spec")
	}
}

func TestManyTagsAtOnceDoNotHoldUpARollback(t *testing.T) {
	const many = 100
	u := newUser(t)
	first := u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.moved("myapp", 1)
	var tags strings.Builder
	for i := range many {
		tags.WriteString(tagYAML(fmt.Sprint("tag-", i), u.source()) + "---\n")
	}
	u.with(tags.String(), "create -f -")
	u.request("myapp", 0)
	u.becomes("deployment/app", containerImage, first)
	u.eventually("all Tags to be ready", func() error {
		ready := strings.Count(u.kubectl(`get tags -o jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`), "True")
		if ready != many+1 {
			return fmt.Errorf("%d are", ready)
		}
		return nil
	})
}
