package e2e

import (
	"strings"
	"testing"
)

// TestFluxLandsTheFixOfATag: Flux sends a dry run of all manifests before it applies the first one. A typo in the Tag's source
// must not block the commit that corrects it.
func TestFluxLandsTheFixOfATag(t *testing.T) {
	u := newUser(t)
	image := u.push("build 0")
	typo := strings.Replace(u.source(), "/myapp:", "/mapp:", 1)
	users := deploymentYAML("web", "myapp")
	if output, err := u.tool(tagYAML("myapp", typo, "generation: 0")+"---\n"+users, "flux-apply", u.namespace, "0s"); err != nil {
		t.Fatalf("commit 1: %v\n%s", err, output)
	}
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "NotFound")

	users += "---\n" + cronJobYAML("cron", "myapp") + "---\n" + statefulSetYAML("db", "myapp")
	commit := tagYAML("myapp", u.source(), "generation: 0") + "---\n" + users
	images := u.imagesOfPods()
	if output, err := u.tool(commit, "flux-apply", u.namespace, "90s"); err != nil {
		t.Fatalf("commit 2: %v\n%s", err, output)
	}
	u.onlyTags(images())
	for object, path := range map[string]string{
		"deployment/web": containerImage, "statefulset/db": containerImage, "cronjob/cron": ".spec.jobTemplate" + containerImage,
	} {
		if got := u.get(object, path); got != image {
			t.Errorf("the image of %s is %s, want %s", object, got, image)
		}
	}

	u.moved("myapp", 1)
	output, err := u.tool(commit, "flux-apply", u.namespace, "90s")
	if err != nil {
		t.Fatalf("commit 2 again: %v\n%s", err, output)
	}
	if strings.Contains(output, "configured") || strings.Contains(output, "created") {
		t.Errorf("Flux sees a difference after the Tag moved:\n%s", output)
	}
	if got := u.get("tag/myapp", ".status.generation"); got != "1" {
		t.Errorf("the Tag uses generation %s, want 1", got)
	}
}
