package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestManifestAppliedAgainMovesNothing(t *testing.T) {
	for name, flags := range map[string]string{"client-side": "apply", "server-side": "apply --server-side"} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.push("build 0")
			manifest := tagYAML("myapp-devel", u.source(), "generation: 0")
			u.with(manifest, flags+" -f -")
			u.becomes("tag/myapp-devel", ".status.generation", "0")
			again := func(why string, generation int) {
				t.Helper()
				u.becomes("tag/myapp-devel", ".status.generation", fmt.Sprint(generation))
				output := u.with(manifest, flags+" -f -")
				if got := u.get("tag/myapp-devel", ".spec.generation"); got != fmt.Sprint(generation) {
					t.Errorf("%s the manifest moved the Tag to %s, want %d", why, got, generation)
				}
				if generation != 0 {
					u.has(output, "Warning:", "declared before", "kubectl tag upgrade")
				}
				u.with(manifest, "diff --server-side="+fmt.Sprint(name == "server-side")+" -f -") // it fails if there is a difference
			}

			u.push("build 1")
			u.kubectl(`patch tag/myapp-devel --type=merge -p {"spec":{"generation":1}}`)
			again("after kubectl patch", 1)
			u.request("myapp-devel", 2)
			again("after kubectl tag", 2)
			u.request("myapp-devel", 1)
			again("after a downgrade", 1)
			u.request("myapp-devel", 2)
			again("after an upgrade", 2)
			u.push("build 3")
			u.kubectl("annotate tag/myapp-devel images.io/requested-check=1")
			again("after a bump by Tagger", 3)
			if got := u.get("tag/myapp-devel", ".status.references[0].trigger"); got != "Push" {
				t.Errorf("the trigger is %s, want Push", got)
			}

			other := u.pushTo(world.registry.Address+"/"+u.namespace+"/other:latest", "other")
			manifest = strings.Replace(manifest, "/myapp:", "/other:", 1)
			u.has(u.with(manifest, flags+" -f -"), "moves to generation 4")
			u.becomes("tag/myapp-devel", ".status.generation", "4")
			if got := u.get("tag/myapp-devel", ".status.references[0].imageReference"); got != other {
				t.Errorf("the image is %s, want %s", got, other)
			}
		})
	}
}

// TestRequestsOfTools tests how admission distinguishes an apply from an edit, with the requests of each tool.
func TestRequestsOfTools(t *testing.T) {
	const patch = "patch tag/myapp --type=merge --field-manager="
	lastApplied := `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"spec\":{\"generation\":%d}}"}},"spec":{"generation":%d}}`
	for name, row := range map[string]struct {
		// first declares generation 0, again repeats it after the Tag has generation 1. Without manifest lines are arguments.
		first, again string
		moves        bool
	}{
		"Flux repeats a manifest":                     {"apply --server-side --field-manager=kustomize-controller --force-conflicts -f -", "apply --server-side --field-manager=kustomize-controller --force-conflicts -f -", false},
		"Argo CD repeats a manifest, server-side":     {"apply --server-side --field-manager=argocd-controller --force-conflicts -f -", "apply --server-side --field-manager=argocd-controller --force-conflicts -f -", false},
		"Argo CD repeats a manifest, client-side":     {patch + "argocd-controller -p " + fmt.Sprintf(lastApplied, 0, 0), patch + "argocd-controller -p " + fmt.Sprintf(lastApplied, 0, 0), false},
		"Helm 4 repeats a manifest":                   {"apply --server-side --field-manager=helm -f -", "apply --server-side --field-manager=helm -f -", false},
		"Helm 3 replaces by the manifest it declared": {"create --field-manager=helm -f -", "replace --field-manager=helm -f -", false},
		"a pipeline applies under a name of its own":  {"apply --field-manager=ci -f -", "apply --field-manager=ci -f -", false},
		"kubectl patch counts":                        {"apply -f -", `patch tag/myapp --type=merge -p {"spec":{"generation":0}}`, true},
		"kubectl edit counts":                         {"apply -f -", patch + `kubectl-edit -p {"spec":{"generation":0}}`, true},
		"kubectl replace repeats a manifest":          {"create -f -", "replace -f -", false},
		"kubectl replace after an apply":              {"apply -f -", "replace -f -", false},
		"Argo CD replaces by the manifest":            {"create --save-config --field-manager=argocd-controller -f -", "replace --save-config --field-manager=argocd-controller -f -", false},
		"a tool replaces what was applied":            {"apply --server-side -f -", "replace --field-manager=tool -f -", false},
		"a tool merges a manifest":                    {"create --field-manager=tool -f -", patch + "tool -p MANIFEST", false},
		"a tool merges a manifest that was applied":   {"apply --server-side -f -", patch + "tool -p MANIFEST", false},
		"kubectl tag counts":                          {"apply -f -", "annotate tag/myapp --field-manager=kubectl-tag images.io/requested-generation=0", true},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.push("build 0")
			manifest := tagYAML("myapp", u.source(), "generation: 0")
			if !strings.Contains(row.first, "-f -") {
				u.with(manifest, "create -f -")
			}
			u.with(manifest, row.first)
			u.becomes("tag/myapp", ".status.generation", "0")
			u.moved("myapp", 1)
			u.with(manifest, strings.ReplaceAll(row.again, "MANIFEST", tagJSON("myapp", u.source(), 0)))
			want := "1"
			if row.moves {
				want = "0"
			}
			if got := u.get("tag/myapp", ".spec.generation"); got != want {
				t.Errorf("the Tag wants generation %s, want %s", got, want)
			}
		})
	}
}

func TestManifestWithANewGeneration(t *testing.T) {
	for name, flags := range map[string]string{"client-side": "apply", "server-side": "apply --server-side"} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.push("build 0")
			u.with(tagYAML("myapp", u.source(), "generation: 0"), flags+" -f -")
			u.becomes("tag/myapp", ".status.generation", "0")
			u.with(tagYAML("myapp", u.source(), "generation: 1"), flags+" -f -")
			u.becomes("tag/myapp", ".status.generation", "1")
			u.moved("myapp", 2)
			u.with(tagYAML("myapp", u.source(), "generation: 0"), flags+" -f -")
			u.becomes("tag/myapp", ".status.generation", "0")
		})
	}
}

// TestManifestsWithoutAnApply has the requests of tools that replace the object by the manifest, or merge the manifest into it.
func TestManifestsWithoutAnApply(t *testing.T) {
	for name, line := range map[string]string{
		"replaced by kubectl": "replace -f -",
		"replaced by a tool":  "replace --field-manager=tool -f -",
		"merged by a tool":    "patch tag/myapp --type=merge --field-manager=tool -p MANIFEST",
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.push("build 0")
			u.with(tagYAML("myapp", u.source(), "generation: 0"), "create -f -")
			u.becomes("tag/myapp", ".status.generation", "0")
			writes := func(generation int, wants string) {
				t.Helper()
				manifest := tagJSON("myapp", u.source(), generation)
				u.with(manifest, strings.ReplaceAll(line, "MANIFEST", manifest))
				u.becomes("tag/myapp", ".status.generation", wants)
				if got := u.get("tag/myapp", ".spec.generation"); got != wants {
					t.Errorf("the manifest with generation %d moved the Tag to %s, want %s", generation, got, wants)
				}
			}
			u.moved("myapp", 1)
			writes(0, "1")
			writes(2, "2")
			u.moved("myapp", 3)
			writes(2, "3")
			writes(2, "3")
			writes(1, "1")
		})
	}
}

// TestReadAndReplacedObjectIsAnEdit: the object has the annotation, which no manifest has.
func TestReadAndReplacedObjectIsAnEdit(t *testing.T) {
	for name, first := range map[string]string{"applied": "apply -f -", "created": "create -f -"} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.push("build 0")
			u.with(tagYAML("myapp", u.source(), "generation: 0"), first)
			u.becomes("tag/myapp", ".status.generation", "0")
			u.moved("myapp", 1)
			var tag map[string]any
			if err := json.Unmarshal([]byte(u.kubectl("get tag/myapp -o json")), &tag); err != nil {
				t.Fatal(err)
			}
			tag["spec"].(map[string]any)["generation"] = 0
			edited, err := json.Marshal(tag)
			if err != nil {
				t.Fatal(err)
			}
			u.with(string(edited), "replace -f -")
			u.becomes("tag/myapp", ".status.generation", "0")
		})
	}
}

func TestReplaceWithoutAGeneration(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	u.moved("myapp", 1)
	u.with(tagYAML("myapp", u.source()), "replace -f -")
	if got := u.get("tag/myapp", ".spec.generation"); got != "1" {
		t.Errorf("the Tag wants generation %s, want 1", got)
	}
}

func TestATagFromABackupKeepsItsGeneration(t *testing.T) {
	u := newUser(t)
	image := u.push("build 7")
	u.with(tagYAML("myapp", u.source(), "generation: 7"), "create -f -")
	u.becomes("tag/myapp", ".status.generation", "7")
	if got := u.get("tag/myapp", ".status.references[*].imageReference"); got != image {
		t.Errorf("the references are %s, want just %s", got, image)
	}
}

func TestARollbackSticksUntilAPersonUpgrades(t *testing.T) {
	u := newUser(t)
	first := u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.moved("myapp", 1)
	u.request("myapp", 0)
	u.becomes("tag/myapp", ".status.generation", "0")
	u.push("build 2")
	u.kubectl("annotate tag/myapp images.io/requested-check=1")
	u.becomes("tag/myapp", ".status.lastHandledRequest", "1")
	if got := u.get("tag/myapp", ".status.references[*].generation"); got != "2 1 0" {
		t.Errorf("the Tag keeps generations %s, want 2 1 0", got)
	}
	u.becomes("deployment/app", containerImage, first)
	if got := u.get("tag/myapp", ".status.generation"); got != "0" {
		t.Errorf("the Tag is at generation %s, want 0", got)
	}
}

func TestRequestedCheckWithoutChange(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	for _, request := range []string{"1", "2", "3"} {
		u.kubectl("annotate --overwrite tag/myapp images.io/requested-check=" + request)
		u.becomes("tag/myapp", ".status.lastHandledRequest", request)
	}
	if got := u.get("tag/myapp", ".status.references[*].generation"); got != "0" {
		t.Errorf("the Tag keeps generations %s, want 0", got)
	}
}

func TestExplicitBumpOfTheSameDigest(t *testing.T) {
	u := newUser(t)
	image := u.imported("myapp")
	u.request("myapp", 1)
	u.becomes("tag/myapp", ".status.references[*].imageReference", image+" "+image)
}

// tagJSON returns a manifest without spaces, for an argument of kubectl.
func tagJSON(name, from string, generation int) string {
	return fmt.Sprintf(`{"apiVersion":"images.io/v1","kind":"Tag","metadata":{"name":%q},"spec":{"from":%q,"generation":%d}}`, name, from, generation)
}
