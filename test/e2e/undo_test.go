package e2e

import (
	"strings"
	"testing"
)

func TestUndoOfATaggedWorkloadChangesNothing(t *testing.T) {
	for kind, manifest := range map[string]string{
		"deployment":  deploymentYAML("app", "myapp"),
		"statefulset": statefulSetYAML("app", "myapp"),
		"daemonset":   daemonSetYAML("app", "myapp"),
	} {
		t.Run(kind, func(t *testing.T) {
			u := newUser(t)
			u.imported("myapp")
			object := kind + "/app"
			u.with(manifest, "apply -f -")
			u.kubectl("rollout status " + object + " --timeout=60s")
			second := u.moved("myapp", 1)
			u.becomes(object, containerImage, second)
			u.kubectl("rollout status " + object + " --timeout=60s")
			generation := u.get(object, ".metadata.generation")

			output := u.kubectl("rollout undo " + object)
			u.has(output, `Tag "myapp"`, "kubectl tag downgrade myapp")
			if got := u.get(object, containerImage); got != second {
				t.Errorf("the image is %s, want %s", got, second)
			}
			if got := u.get(object, ".metadata.generation"); got != generation {
				t.Errorf("the undo rolled: generation %s, want %s", got, generation)
			}
			third := u.moved("myapp", 2)
			u.becomes(object, containerImage, third)
		})
	}
}

func TestUndoToATrimmedGeneration(t *testing.T) {
	u := newUser(t)
	u.push("build 0")
	u.with(tagYAML("myapp", u.source(), "historyLimit: 2"), "apply -f -")
	u.becomes("tag/myapp", ".status.generation", "0")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.kubectl("rollout status deployment/app --timeout=60s")
	var last string
	for generation := 1; generation <= 3; generation++ {
		last = u.moved("myapp", generation)
		u.becomes("deployment/app", containerImage, last)
		u.kubectl("rollout status deployment/app --timeout=60s")
	}
	if got := u.get("tag/myapp", ".status.references[*].generation"); got != "3 2" {
		t.Fatalf("the Tag keeps generations %s, want 3 2", got)
	}
	u.kubectl("rollout undo deployment/app --to-revision=1")
	if got := u.get("deployment/app", containerImage); got != last {
		t.Errorf("the image is %s, want %s", got, last)
	}
}

func TestUndoToARevisionFromBeforeTheOptIn(t *testing.T) {
	const before = "quay.io/company/myapp:1.0"
	for kind, manifest := range map[string]func(app, image string, more ...string) string{
		"deployment":  deploymentYAML,
		"statefulset": statefulSetYAML,
		"daemonset":   daemonSetYAML,
	} {
		t.Run(kind, func(t *testing.T) {
			u := newUser(t)
			object := kind + "/app"
			u.imported("myapp")
			u.with(strings.Replace(manifest("app", before), `    image-tag: "true"`, `    other: "x"`, 1), "apply -f -")
			u.kubectl("rollout status " + object + " --timeout=60s")
			u.with(manifest("app", "myapp"), "apply -f -")
			u.kubectl("rollout status " + object + " --timeout=60s")
			u.kubectl("rollout undo " + object + " --to-revision=1")
			if got := u.get(object, containerImage); got != before {
				t.Errorf("the image is %s, want %s", got, before)
			}
			u.moved("myapp", 1)
			u.kubectl("rollout status " + object + " --timeout=60s")
			if got := u.get(object, containerImage); got != before {
				t.Errorf("a Tag that the workload left moved it to %s", got)
			}
			image := u.get("tag/myapp", ".status.references[0].imageReference")
			u.with(manifest("app", "myapp"), "apply -f -")
			if got := u.get(object, containerImage); got != image {
				t.Errorf("opted in again, the image is %s, want %s", got, image)
			}
		})
	}
}
