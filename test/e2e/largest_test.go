package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// longImage returns an image with exactly so many characters, which no registry has.
func longImage(length int, end string) string {
	const start = "registry.test/"
	return start + strings.Repeat("a", length-len(start)-len(end)) + end
}

// longestHistory returns a status with so many generations, each as long as the schema allows, of which 0 is in use, and with
// the longest reason.
func longestHistory(u *user, generations int, image string) string {
	type reference struct {
		Generation     int    `json:"generation"`
		From           string `json:"from"`
		ImportedAt     string `json:"importedAt"`
		ImageReference string `json:"imageReference"`
		Trigger        string `json:"trigger"`
	}
	var history []reference
	for g := generations - 1; g > 0; g-- {
		history = append(history, reference{g, longImage(512, ":latest"), "2026-01-01T00:00:00Z", longImage(768, atDigest(image)), "Import"})
	}
	history = append(history, reference{0, u.source(), "2026-01-01T00:00:00Z", image, "Import"})
	content, err := json.Marshal(map[string]any{"status": map[string]any{
		"references":        history,
		"lastImportAttempt": map[string]any{"when": "2026-01-01T00:00:00Z", "succeed": false, "reason": strings.Repeat("x", 1024)},
	}})
	if err != nil {
		u.t.Fatal(err)
	}
	return string(content)
}

// TestTheLargestTagIsWritten fills a Tag to the limits of the schema. Its next import and its next failure are written as those
// of any other Tag, and it stays small beside the 1.5 MiB that etcd stores.
func TestTheLargestTagIsWritten(t *testing.T) {
	for _, row := range []struct{ generations, bytes int }{{5, 16 << 10}, {25, 64 << 10}} {
		t.Run(fmt.Sprint(row.generations, " generations"), func(t *testing.T) {
			u := newUser(t)
			image := u.push("build 0")
			u.with(tagYAML("myapp", u.source(), fmt.Sprint("historyLimit: ", row.generations)), "apply -f -")
			u.becomes("tag/myapp", ".status.references[0].imageReference", image)
			u.kubectl("patch tag/myapp --subresource=status --type=merge -p " + longestHistory(u, row.generations, image))
			small := func() {
				t.Helper()
				if stored := u.kubectl("get --raw /apis/images.io/v1/namespaces/" + u.namespace + "/tags/myapp"); len(stored) > row.bytes {
					t.Errorf("the Tag has %d bytes, more than %d", len(stored), row.bytes)
				}
			}
			small()
			second := u.moved("myapp", row.generations)
			u.becomes("tag/myapp", ".status.references[0].imageReference", second)
			if kept := strings.Fields(u.get("tag/myapp", ".status.references[*].generation")); len(kept) != row.generations {
				t.Errorf("the generations are %v, want %d of them", kept, row.generations)
			}

			u.kubectl(`patch tag/myapp --type=merge -p {"spec":{"from":"` + world.faulty.address + `/talkative/app:latest"}}`)
			u.becomes("tag/myapp", ".status.lastImportAttempt.succeed", "false")
			if reason := u.get("tag/myapp", ".status.lastImportAttempt.reason"); len(reason) > 1024 || !strings.Contains(reason, "…") {
				t.Errorf("the reason has %d bytes: %s", len(reason), reason)
			}
			small()
		})
	}
}

func TestAHundredContainersArePinnedAndMoved(t *testing.T) {
	u := newUser(t)
	image := u.imported("myapp")
	var more strings.Builder
	for i := 1; i < 100; i++ {
		fmt.Fprintf(&more, "      - name: app-%d\n        image: myapp\n", i)
	}
	u.with(deploymentYAML("app", "myapp")+more.String(), "apply -f -")
	const images = ".spec.template.spec.containers[*].image"
	all := func(image string) string { return strings.TrimSpace(strings.Repeat(image+" ", 100)) }
	if got := u.get("deployment/app", images); got != all(image) {
		t.Errorf("the images are %s", got)
	}
	u.becomes("deployment/app", images, all(u.moved("myapp", 1)))
	if got := u.replicaSets("app"); got != 2 {
		t.Errorf("%d ReplicaSets, want 2", got)
	}
}
