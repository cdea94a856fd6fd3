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

func TestAJobIsPinnedOnceAndItsManifestAppliesAgain(t *testing.T) {
	u := newUser(t)
	first := u.imported("myapp")
	u.with(jobYAML("once", "myapp"), "apply -f -")
	u.moved("myapp", 1)
	u.with(jobYAML("once", "myapp"), "apply -f -")
	if got := u.get("job/once", containerImage); got != first {
		t.Errorf("the image is %s, want %s", got, first)
	}
}

func TestWhatDoesNotRecoverIsRefusedWithoutAnImport(t *testing.T) {
	u := newUser(t)
	u.with(tagYAML("empty", world.registry.Address+"/"+u.namespace+"/nothing:latest"), "apply -f -")
	u.becomes("tag/empty", `.status.conditions[?(@.type=="Ready")].reason`, "NotFound")
	for kind, manifest := range map[string]string{
		"StatefulSet": statefulSetYAML("app", "empty"), "CronJob": cronJobYAML("app", "empty"), "Job": jobYAML("app", "empty"),
	} {
		u.has(u.refused(manifest, "apply -f -"), "Tag empty has no import yet (NotFound); apply again when it is Ready")
		if got := u.kubectl("get " + kind + " -o name"); got != "" {
			t.Errorf("%s was made: %s", kind, got)
		}
	}
}
