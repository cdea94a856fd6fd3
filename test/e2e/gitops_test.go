package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestKustomizeWithANamePrefix tests both ways of docs/gitops.md to give images the prefix of a Tag.
func TestKustomizeWithANamePrefix(t *testing.T) {
	const nameReference = `nameReference:
- group: images.io
  kind: Tag
  fieldSpecs:
  - path: spec/template/spec/containers/image
  - path: spec/template/spec/initContainers/image
  - path: spec/jobTemplate/spec/template/spec/containers/image
  - path: spec/jobTemplate/spec/template/spec/initContainers/image
`
	for name, row := range map[string]struct{ settings, tag string }{
		"without settings the image stays":    {"", ""},
		"a configuration for name references": {"configurations: [tagger.yaml]\n", "dev-myapp"},
		"the images transformer":              {"images: [{name: myapp, newName: dev-myapp}]\n", "dev-myapp"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			image := u.push("build 0")
			folder := t.TempDir()
			for file, text := range map[string]string{
				"tag.yaml":           tagYAML("myapp", u.source()),
				"workloads.yaml":     deploymentYAML("web", "myapp") + "---\n" + cronJobYAML("cron", "myapp"),
				"tagger.yaml":        nameReference,
				"kustomization.yaml": "namePrefix: dev-\nresources: [tag.yaml, workloads.yaml]\n" + row.settings,
			} {
				if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			output := u.kubectl("apply -k " + folder)
			if row.tag == "" {
				u.has(output, "there is no such Tag in namespace "+u.namespace)
				return
			}
			u.becomes("deployment/dev-web", containerImage, image)
			u.becomes("cronjob/dev-cron", ".spec.jobTemplate"+containerImage, image)
			u.becomes("cronjob/dev-cron", ".spec.jobTemplate.spec.template.spec.initContainers[0].image", image)
		})
	}
}

// TestTwoServerSideAppliersOfATag: two owners of the generation conflict, as of any field. One that leaves it out does not.
func TestTwoServerSideAppliersOfATag(t *testing.T) {
	u := newUser(t)
	u.push("build 0")
	u.with(tagYAML("myapp", u.source(), "generation: 0"), "apply --server-side --field-manager=first -f -")
	u.becomes("tag/myapp", ".status.generation", "0")
	output := u.refused(tagYAML("myapp", u.source(), "generation: 1"), "apply --server-side --field-manager=second -f -")
	u.has(output, `conflict with "first"`, ".spec.generation")
	u.with(tagYAML("myapp", u.source()), "apply --server-side --field-manager=second -f -")
}

// TestATagRestoredFromABackup restores a Tag without its status, and with it.
func TestATagRestoredFromABackup(t *testing.T) {
	t.Run("without its status it imports afresh", func(t *testing.T) {
		u := newUser(t)
		u.imported("myapp")
		u.moved("myapp", 1)
		u.kubectl("delete tag/myapp")
		now := u.push("build 2")
		u.with(tagYAML("myapp", u.source(), "generation: 1"), "create -f -")
		u.becomes("tag/myapp", ".status.references[*].imageReference", now)
		if got := u.get("tag/myapp", ".status.references[*].generation"); got != "1" {
			t.Errorf("the generations are %s, want just 1", got)
		}
	})
	t.Run("with its status it is what it was", func(t *testing.T) {
		u := newUser(t)
		repository := world.faulty.closed + "/" + u.namespace + "/myapp" // the registry does not respond
		references, images := "", []string{}
		for i := range 2 {
			images = append(images, fmt.Sprintf("%s@sha256:%064d", repository, i))
			references = fmt.Sprintf("  - {generation: %d, from: %q, importedAt: 2026-11-23T12:00:00Z, imageReference: %q}\n",
				i, repository+":latest", images[i]) + references
		}
		manifest := tagYAML("myapp", repository+":latest", "generation: 0")
		u.with(manifest, "create -f -")
		u.with(manifest+"status:\n  generation: 0\n  references:\n"+references, "replace --subresource=status -f -")
		u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].status`, "True")
		u.with(deploymentYAML("web", "myapp"), "apply -f -")
		u.becomes("deployment/web", containerImage, images[0])
		u.request("myapp", 1)
		u.becomes("deployment/web", containerImage, images[1])
	})
}
