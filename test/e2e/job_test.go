package e2e

import (
	"strings"
	"testing"
)

// TestAJobWaitsForTheFirstImportOfItsTag: the registry takes 0.7 s per request, and the Job is sent at once.
func TestAJobWaitsForTheFirstImportOfItsTag(t *testing.T) {
	u := newUser(t)
	image := u.push("build 0")
	slow := world.faulty.slow + "/" + u.namespace + "/myapp"
	u.with(tagYAML("myapp", slow+":latest", "generation: 0")+"---\n"+jobYAML("app", "myapp"), "apply -f -")
	_, digest, _ := strings.Cut(image, "@")
	if got, want := u.get("job/app", containerImage), slow+"@"+digest; got != want {
		t.Errorf("the image is %s, want %s", got, want)
	}
}
