package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func TestTenAppliesMakeOneReplicaSet(t *testing.T) {
	u := newUser(t)
	image := u.imported("myapp")
	for range 10 {
		u.with(deploymentYAML("app", "myapp"), "apply -f -")
	}
	u.kubectl("rollout status deployment/app --timeout=60s")
	if got := u.get("deployment/app", containerImage); got != image {
		t.Errorf("the image is %s, want %s", got, image)
	}
	if got := u.replicaSets("app"); got != 1 {
		t.Errorf("%d ReplicaSets, want 1", got)
	}
}

func TestOrdinaryChangesRollAsUsual(t *testing.T) {
	u := newUser(t)
	image := u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.kubectl("rollout status deployment/app --timeout=60s")

	u.kubectl("scale deployment/app --replicas=3")
	u.becomes("deployment/app", ".status.readyReplicas", "3")
	u.kubectl("label deployment/app team=a")
	if got := u.replicaSets("app"); got != 1 {
		t.Errorf("%d ReplicaSets after scaling and a label, want 1", got)
	}
	u.kubectl("rollout restart deployment/app")
	u.kubectl("rollout status deployment/app --timeout=60s")
	if got := u.replicaSets("app"); got != 2 {
		t.Errorf("%d ReplicaSets after a restart, want 2", got)
	}
	if got := u.get("deployment/app", containerImage); got != image {
		t.Errorf("the image is %s, want %s", got, image)
	}
}

func TestUpgradeAndDowngradeRollTheDeployment(t *testing.T) {
	u := newUser(t)
	first := u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	second := u.moved("myapp", 1)
	u.becomes("deployment/app", containerImage, second)
	u.kubectl("rollout status deployment/app --timeout=60s")
	u.request("myapp", 0)
	u.becomes("deployment/app", containerImage, first)
	u.kubectl("rollout status deployment/app --timeout=60s")
	u.eventually("events of the rollout", func() error {
		events := u.kubectl("get events --field-selector reason=Rollout -o jsonpath={.items[*].note}{.items[*].message}")
		if !strings.Contains(events, second) {
			return fmt.Errorf("only %q", events)
		}
		return nil
	})
}

func TestUnchangedManifestsAfterUpgrade(t *testing.T) {
	for name, flags := range map[string]string{
		"client-side": "apply",
		"server-side": "apply --server-side",
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.imported("myapp")
			manifest := deploymentYAML("app", "myapp")
			u.with(manifest, flags+" -f -")
			second := u.moved("myapp", 1)
			u.becomes("deployment/app", containerImage, second)
			generation := u.get("deployment/app", ".metadata.generation")

			u.with(manifest, "diff --server-side="+fmt.Sprint(name == "server-side")+" -f -") // it fails if there is a difference
			u.with(manifest, flags+" -f -")
			u.with(manifest, flags+" -f -")
			if got := u.get("deployment/app", ".metadata.generation"); got != generation {
				t.Errorf("the Deployment is at generation %s, want %s as before", got, generation)
			}
			if got := u.get("deployment/app", containerImage); got != second {
				t.Errorf("the image is %s, want %s", got, second)
			}
		})
	}
}

func TestReplaceByTheManifestRollsNothing(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	manifest := deploymentYAML("app", "myapp")
	u.with(manifest, "create -f -")
	second := u.moved("myapp", 1)
	u.becomes("deployment/app", containerImage, second)
	template := u.get("deployment/app", ".spec.template")
	u.with(manifest, "replace -f -")
	if got := u.get("deployment/app", ".spec.template"); got != template {
		t.Errorf("the template is %s, want %s as before", got, template)
	}
}

func TestTwoAppliersOneWithoutTheImage(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	whole := deploymentYAML("app", "myapp")
	replicas := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"app"},"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"A","value":"b"}]}]}}}}`
	u.with(whole, "apply --server-side --field-manager=one -f -")
	u.with(replicas, "apply --server-side --field-manager=two -f -")
	second := u.moved("myapp", 1)
	u.becomes("deployment/app", containerImage, second)
	generation := u.get("deployment/app", ".metadata.generation")
	for range 3 {
		u.with(whole, "apply --server-side --field-manager=one -f -")
		u.with(replicas, "apply --server-side --field-manager=two -f -")
	}
	if got := u.get("deployment/app", ".metadata.generation"); got != generation {
		t.Errorf("the Deployment is at generation %s, want %s as before", got, generation)
	}
}

func TestPullPolicy(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	const policy = ".spec.template.spec.containers[0].imagePullPolicy"
	if got := u.get("deployment/app", policy); got != "IfNotPresent" {
		t.Errorf("a pinned name has the pull policy %s, want IfNotPresent", got)
	}
	u.kubectl("set image deployment/app app=quay.io/company/else:1")
	if got := u.get("deployment/app", policy); got != "Always" {
		t.Errorf("a container that left has the pull policy %s, want Always as before", got)
	}
	u.with(deploymentYAML("leaves", "myapp"), "apply -f -")
	u.kubectl(`patch deployment/leaves --patch={"metadata":{"annotations":{"image-tag":null}},"spec":{"template":{"spec":{"containers":[{"name":"app","image":"nginx"}]}}}}`)
	if got := u.get("deployment/leaves", containerImage+"}{"+policy); got != "nginxAlways" {
		t.Errorf("a workload that opts out with another image has %s, want nginx and Always as before", got)
	}
	u.with(strings.Replace(deploymentYAML("kept", "myapp"), "    image-tag:", "    images.io/keep-pull-policy: \"true\"\n    image-tag:", 1), "apply -f -")
	if got := u.get("deployment/kept", policy); got != "Always" {
		t.Errorf("with images.io/keep-pull-policy it is %s, want Always", got)
	}
}

func TestOtherValuesOfTheAnnotation(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	u.with(strings.Replace(deploymentYAML("app", "myapp"), `"true"`, `"false"`, 1), "apply -f -")
	u.moved("myapp", 1)
	if got := u.get("deployment/app", containerImage); got != "myapp" {
		t.Errorf("the image is %s, want it untouched", got)
	}
}

func TestRemovingTheAnnotationLeavesTheImage(t *testing.T) {
	u := newUser(t)
	image := u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	template := u.get("deployment/app", ".spec.template")
	u.kubectl("annotate deployment/app image-tag-")
	u.moved("myapp", 1)
	if got := u.get("deployment/app", containerImage); got != image {
		t.Errorf("the image is %s, want %s", got, image)
	}
	if got := u.get("deployment/app", ".spec.template"); got != template {
		t.Errorf("opting out changed the template to %s, want %s", got, template)
	}
	if got := u.get("deployment/app", ".metadata.annotations"); strings.Contains(got, "images.io/pinned") {
		t.Errorf("the record is still there: %s", got)
	}
}

// TestOptingOutWithTheNameOfATagIsRefused: a stored name would be an image of docker.io at the next apply.
func TestOptingOutWithTheNameOfATagIsRefused(t *testing.T) {
	for name, row := range map[string]struct{ apply, annotation string }{
		"client-side without the annotation": {"apply -f -", ""},
		"client-side with another value":     {"apply -f -", `"false"`},
		"server-side without the annotation": {"apply --server-side -f -", ""},
		"by a replacement":                   {"replace -f -", ""},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			image := u.imported("myapp")
			manifest := deploymentYAML("app", "myapp")
			if u.with(manifest, strings.Replace(row.apply, "replace", "create", 1)); u.get("deployment/app", containerImage) != image {
				t.Fatal("the Deployment is not pinned")
			}
			out := strings.Replace(manifest, `    image-tag: "true"`, "    image-tag: "+row.annotation, 1)
			if row.annotation == "" {
				out = strings.Replace(manifest, "  annotations:\n    image-tag: \"true\"\n", "", 1)
			}
			for range 2 {
				u.has(u.refused(out, row.apply), "write "+image+" instead, or keep the annotation")
				if got := u.get("deployment/app", containerImage); got != image {
					t.Fatalf("the image is %s, want %s", got, image)
				}
			}
			u.with(strings.Replace(out, "image: myapp", "image: "+image, 1), row.apply)
			if got := u.get("deployment/app", containerImage) + u.get("deployment/app", ".metadata.annotations"); !strings.HasPrefix(got, image) || strings.Contains(got, "images.io/pinned") {
				t.Errorf("after opting out with the digest: %s", got)
			}
		})
	}
}

func TestARenamedContainerFollowsItsTag(t *testing.T) {
	for name, rename := range map[string]string{
		"by a JSON patch":            `--type=json --patch=[{"op":"replace","path":"/spec/template/spec/containers/0/name","value":"web"}]`,
		"by a strategic merge patch": `--patch={"spec":{"template":{"spec":{"containers":[{"$patch":"delete","name":"app"},{"name":"web","image":"%s"}]}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			image := u.imported("myapp")
			u.with(deploymentYAML("app", "myapp"), "apply -f -")
			u.kubectl("patch deployment/app " + strings.Replace(rename, "%s", image, 1))
			if got := u.get("deployment/app", ".spec.template.spec.containers[*].name"); got != "web" {
				t.Fatalf("the containers are %s", got)
			}
			u.becomes("deployment/app", containerImage, u.moved("myapp", 1))
		})
	}
}

func TestImageLikeATagNameIsWarnedOf(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	for _, image := range []string{"myapp:latest", "docker.io/myapp", "docker.io/library/myapp:1"} {
		u.has(u.with(deploymentYAML("app", image), "apply -f -"), "Warning:", "is the one of docker.io, not Tag \"myapp\"")
	}
	if output := u.kubectl("label deployment/app a=b"); strings.Contains(output, "Warning") {
		t.Errorf("a label is warned of: %s", output)
	}
}
