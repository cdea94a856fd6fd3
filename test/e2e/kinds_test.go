package e2e

import (
	"strings"
	"testing"
)

func statefulSetYAML(app, image string, more ...string) string {
	return strings.NewReplacer("kind: Deployment", "kind: StatefulSet", "  replicas: 1\n", "  replicas: 1\n  serviceName: "+app+"\n").
		Replace(deploymentYAML(app, image, more...))
}

func daemonSetYAML(app, image string, more ...string) string {
	return strings.NewReplacer("kind: Deployment", "kind: DaemonSet", "  replicas: 1\n", "").Replace(deploymentYAML(app, image, more...))
}

func jobYAML(app, image string) string {
	return `apiVersion: batch/v1
kind: Job
metadata:
  name: ` + app + `
  annotations:
    image-tag: "true"
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: app
        image: ` + image + "\n"
}

func cronJobYAML(app, image string) string {
	return `apiVersion: batch/v1
kind: CronJob
metadata:
  name: ` + app + `
  annotations:
    image-tag: "true"
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          initContainers:
          - name: init
            image: ` + image + `
          containers:
          - name: app
            image: ` + image + "\n"
}

func TestEveryKindFollowsItsTag(t *testing.T) {
	for name, row := range map[string]struct{ manifest, object, path string }{
		"StatefulSet":                     {statefulSetYAML("app", "myapp"), "statefulset/app", containerImage},
		"DaemonSet":                       {daemonSetYAML("app", "myapp"), "daemonset/app", containerImage},
		"CronJob":                         {cronJobYAML("app", "myapp"), "cronjob/app", ".spec.jobTemplate" + containerImage},
		"the init container of a CronJob": {cronJobYAML("app", "myapp"), "cronjob/app", ".spec.jobTemplate.spec.template.spec.initContainers[0].image"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			first := u.imported("myapp")
			u.with(row.manifest, "apply -f -")
			if got := u.get(row.object, row.path); got != first {
				t.Errorf("the image is %s, want %s", got, first)
			}
			second := u.moved("myapp", 1)
			u.becomes(row.object, row.path, second)
			generation := u.get(row.object, ".metadata.generation")
			u.with(row.manifest, "apply -f -")
			if got := u.get(row.object, ".metadata.generation"); got != generation {
				t.Errorf("the unchanged manifest made generation %s, want %s", got, generation)
			}
		})
	}
}

func TestJobIsPinnedAndAppliesAgain(t *testing.T) {
	u := newUser(t)
	first := u.imported("myapp")
	u.with(jobYAML("once", "myapp"), "apply -f -")
	u.moved("myapp", 1)
	u.with(jobYAML("once", "myapp"), "apply -f -")
	if got := u.get("job/once", containerImage); got != first {
		t.Errorf("the image is %s, want %s", got, first)
	}
}

func TestBareNameBecomesThePlaceholder(t *testing.T) {
	for kind, row := range map[string]struct{ manifest, path string }{
		"statefulset": {statefulSetYAML("app", "empty"), containerImage},
		"daemonset":   {daemonSetYAML("app", "empty"), containerImage},
		"cronjob":     {cronJobYAML("app", "empty"), ".spec.jobTemplate" + containerImage},
	} {
		t.Run(kind, func(t *testing.T) {
			u := newUser(t)
			u.has(u.with(row.manifest, "apply -f -"), "Warning:", `waits for Tag "empty", which has no import yet`)
			if got, want := u.get(kind+"/app", row.path), "not-imported.invalid/"+u.namespace+"/empty"; got != want {
				t.Errorf("the image is %s, want %s", got, want)
			}
			u.becomes(kind+"/app", row.path, u.imported("empty"))
		})
	}
}

func TestAJobWhoseTagHasNoImportIsRefused(t *testing.T) {
	u := newUser(t)
	u.has(u.refused(jobYAML("app", "empty"), "apply -f -"), "Tag empty has no import yet (there is no such Tag in namespace "+u.namespace)
	u.with(tagYAML("empty", world.registry.Address+"/"+u.namespace+"/nothing:latest"), "apply -f -")
	u.becomes("tag/empty", `.status.conditions[?(@.type=="Ready")].reason`, "NotFound")
	u.has(u.refused(jobYAML("app", "empty"), "apply -f -"), "Tag empty has no import yet (NotFound); apply again when it is Ready")
	if got := u.kubectl("get job -o name"); got != "" {
		t.Errorf("a Job was made: %s", got)
	}
}

// TestAnImageVolumeFollowsItsTag runs on an API server that serves image volumes (KEP-4639).
func TestAnImageVolumeFollowsItsTag(t *testing.T) {
	u := newUser(t)
	first := u.imported("myapp")
	manifest := deploymentYAML("app", "quay.io/company/server:1") + "      volumes:\n      - name: models\n        image:\n          reference: myapp\n"
	u.with(manifest, "apply --server-side -f -")
	const reference, policy = ".spec.template.spec.volumes[0].image.reference", ".spec.template.spec.volumes[0].image.pullPolicy"
	if got := u.get("deployment/app", reference) + " " + u.get("deployment/app", policy); got != first+" IfNotPresent" {
		t.Errorf("the volume has %s, want %s IfNotPresent", got, first)
	}
	u.becomes("deployment/app", reference, u.moved("myapp", 1))
	generation := u.get("deployment/app", ".metadata.generation")
	u.with(manifest, "apply --server-side -f -")
	if got := u.get("deployment/app", ".metadata.generation"); got != generation {
		t.Errorf("the unchanged manifest made generation %s, want %s", got, generation)
	}
}
