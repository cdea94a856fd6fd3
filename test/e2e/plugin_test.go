package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/images-io/tagger/test/cluster"
)

// TestKubectlTag calls the plugin as kubectl finds it, in the PATH.
func TestKubectlTag(t *testing.T) {
	u := newUser(t)
	u.path = binaries(t)
	first := u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")

	u.has(u.refused("", "tag downgrade myapp"), `error: Tag "myapp" cannot be downgraded: generation 0 is the oldest one that is kept`)
	u.has(u.refused("", "tag upgrade nothing"), `tags.images.io "nothing" not found`)

	second := u.push("build 1")
	u.has(u.kubectl("tag upgrade myapp"), "tag.images.io/myapp upgraded to generation 1")
	u.becomes("deployment/app", containerImage, second)
	u.has(u.kubectl("tag downgrade myapp"), "tag.images.io/myapp downgraded to generation 0")
	u.becomes("deployment/app", containerImage, first)
	u.has(u.kubectl("tag import myapp"), "tag.images.io/myapp moved to generation 2")
	u.becomes("deployment/app", containerImage, second)
	if got := u.get("tag/myapp", ".status.references[*].trigger"); got != "User User Import" {
		t.Errorf("the triggers are %s, want User User Import", got)
	}

	u.kubectl(`patch tag/myapp --type=merge -p {"spec":{"from":"` + world.faulty.address + `/missing/app:latest"}}`)
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "NotFound")
	u.has(u.refused("", "tag upgrade myapp"), `the import of generation 3 of Tag "myapp" is pending`, "there is no such repository or tag")
	u.kubectl("tag downgrade myapp")
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].status`, "True")
	if annotations := u.get("tag/myapp", ".metadata.annotations"); strings.Contains(annotations, "requested-generation") {
		t.Errorf("the request is left: %s", annotations)
	}
}

// binaries is bin/ of the working copy.
func binaries(t *testing.T) string {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "bin")
}
