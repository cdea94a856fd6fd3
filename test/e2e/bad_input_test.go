package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestBadTagsAreRefusedWithWhatIsWrong(t *testing.T) {
	u := newUser(t)
	const source = "quay.io/company/myapp:latest"
	for name, row := range map[string]struct {
		manifest string
		says     string
	}{
		"an empty from":                         {tagYAML("bad", `""`), "spec.from"},
		"no from":                               {strings.Replace(tagYAML("bad", "x"), "  from: x\n", "", 1), "spec.from"},
		"a malformed from":                      {tagYAML("bad", `"quay.io/a b:c:d"`), "must be an image reference such as"},
		"a from of 10 KB":                       {tagYAML("bad", "quay.io/"+strings.Repeat("a", 10<<10)), "may not be more than 512"},
		"an uppercase repository":               {tagYAML("bad", "quay.io/Company/myapp"), "lower"},
		"an uppercase name":                     {tagYAML("bad", "MyApp"), "lowercase"},
		"a negative generation":                 {tagYAML("bad", source, "generation: -1"), "greater than or equal to 0"},
		"a generation without room for another": {tagYAML("bad", source, "generation: 9007199254740991"), "must be at most 1000000000000"},
		"no history":                            {tagYAML("bad", source, "historyLimit: 0"), "greater than or equal to 1"},
		"too much history":                      {tagYAML("bad", source, "historyLimit: 100"), "less than or equal to 25"},
		"an interval of 1s":                     {tagYAML("bad", source, "interval: 1s"), "interval must be at least 1m"},
		"an interval of nonsense":               {tagYAML("bad", source, "interval: often"), "spec.interval"},
		"a name with a dot":                     {tagYAML("my.app", source), "must be a DNS label"},
		"a name of 64 letters":                  {tagYAML(strings.Repeat("a", 64), source), "must be a DNS label"},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := u.run(row.manifest, "create", "-f", "-")
			if err == nil || !strings.Contains(output, row.says) {
				t.Errorf("kubectl says %q (%v), want a refusal with %q", output, err, row.says)
			}
		})
	}
}

func TestGenerationsThatCannotBeHadAreRefused(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	u.moved("myapp", 1)
	for name, row := range map[string]struct{ generation, says string }{
		"a skipped one":   {"3", "generation 3 is not one of the imported generations (1, 0), nor the newest one plus 1 (2)"},
		"a negative one":  {"-1", "greater than or equal to 0"},
		"one of nonsense": {`"two"`, "must be of type integer"},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := u.run("", "patch", "tag/myapp", "--type=merge", "-p", `{"spec":{"generation":`+row.generation+`}}`)
			if err == nil || !strings.Contains(output, row.says) {
				t.Errorf("kubectl says %q (%v), want a refusal with %q", output, err, row.says)
			}
		})
	}
	if got := u.get("tag/myapp", ".spec.generation"); got != "1" {
		t.Errorf("the Tag wants generation %s, want 1 as before", got)
	}
}

func TestADigestInFromIsPinnedForGood(t *testing.T) {
	u := newUser(t)
	image := u.push("build 0")
	u.with(tagYAML("myapp", image), "apply -f -")
	u.becomes("tag/myapp", ".status.references[0].imageReference", image)
	u.push("build 1")
	u.request("myapp", 1)
	u.becomes("tag/myapp", ".status.references[*].imageReference", image+" "+image)
}

func TestAnUnqualifiedSourceIsWarnedOf(t *testing.T) {
	u := newUser(t)
	u.has(u.with(tagYAML("nginx", "nginx"), "create --dry-run=server -f -"), "Warning:", "docker.io/library/nginx:latest", "push notifications do not reach")
}

func TestFailingRegistries(t *testing.T) {
	for name, row := range map[string]struct{ from, reason string }{
		"401":         {world.faulty.address + "/unauthorized/app:latest", "Unauthorized"},
		"403":         {world.faulty.address + "/forbidden/app:latest", "Unauthorized"},
		"404":         {world.faulty.address + "/missing/app:latest", "NotFound"},
		"429":         {world.faulty.limited + "/limited/app:latest", "RateLimited"},
		"500":         {world.faulty.broken + "/broken/app:latest", "Unavailable"},
		"unreachable": {world.faulty.closed + "/any/app:latest", "Unavailable"},
		"plain HTTP":  {world.faulty.unlisted + "/missing/app:latest", "RefusedByPolicy"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			image := u.imported("myapp")
			u.with(deploymentYAML("app", "myapp"), "apply -f -")
			u.kubectl(`patch tag/myapp --type=merge -p {"spec":{"from":"` + row.from + `"}}`)
			u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, row.reason)
			u.becomes("tag/myapp", ".status.lastImportAttempt.succeed", "false")
			if got := u.get("tag/myapp", ".status.generation"); got != "0" {
				t.Errorf("the Tag uses generation %s, want 0 as before", got)
			}
			if got := u.get("deployment/app", containerImage); got != image {
				t.Errorf("the image is %s, want %s", got, image)
			}
			attempts := world.logs.lines("import failed", u.namespace, row.reason)
			if len(attempts) == 0 {
				t.Error("the log has no line of it")
			}
			if status := u.kubectl("get tag/myapp -o yaml"); strings.Contains(status, planted) || len(world.logs.lines(planted)) > 0 {
				t.Error("what the registry planted in its answer is in the status or in the log")
			}
			u.eventually("the event that says so", func() error {
				if events := u.kubectl("get events -o jsonpath={.items[*].reason}"); !strings.Contains(events, "ImportFailed") {
					return fmt.Errorf("only %s", events)
				}
				return nil
			})
		})
	}
}

func TestHostileRegistriesLeakNothing(t *testing.T) {
	from := func(fault string) string { return world.faulty.address + "/" + fault + "/app:latest" }
	for name, row := range map[string]struct{ from, reason, says string }{
		"a manifest of 100 MB":          {from("huge"), "InvalidContent", "larger than the 4 MiB"},
		"an index of 10,000":            {from("crowded"), "InvalidContent", "more than 64 manifests"},
		"an index in itself":            {from("itself"), "InvalidContent", "does not have the digest"},
		"a compressed manifest":         {from("compressed"), "InvalidContent", "is compressed"},
		"a redirect loop":               {from("loop"), "Unavailable", "redirects more than 5 times"},
		"a redirect to metadata":        {from("metadata"), "RefusedByPolicy", "169.254.169.254"},
		"a redirect to loopback":        {from("loopback"), "RefusedByPolicy", "2130706433:6443, which is no address for a registry"},
		"a token service at metadata":   {world.faulty.elsewhere + "/any/app:latest", "RefusedByPolicy", "169.254.169.254"},
		"a header that never comes":     {world.faulty.mute + "/any/app:latest", "Unavailable", "does not answer in time"},
		"a byte a second":               {world.faulty.dripping + "/any/app:latest", "Unavailable", "does not answer in time"},
		"a connection cut":              {from("cut"), "Unavailable", "the connection failed"},
		"loopback, which is not listed": {world.faulty.unlisted + "/any/app:latest", "RefusedByPolicy", "the administrator can list " + world.faulty.unlisted},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.with(tagYAML("myapp", row.from), "apply -f -")
			u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, row.reason)
			u.has(u.get("tag/myapp", ".status.lastImportAttempt.reason"), row.says)
			if status := u.kubectl("get tag/myapp -o yaml"); strings.Contains(status, planted) || len(world.logs.lines(planted)) > 0 {
				t.Error("what the registry planted is in the status or in the log")
			}
		})
	}
}

func TestAFailureIsOverWhenTheRegistryIsBack(t *testing.T) {
	u := newUser(t)
	u.with(tagYAML("myapp", u.source()), "apply -f -")
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "NotFound")
	image := u.push("build 0")
	u.becomes("tag/myapp", ".status.references[0].imageReference", image)
	u.kubectl("wait --for=condition=Ready tag/myapp --timeout=10s")
}

// forged is text that would be a line of the manager's log, if the log contained its line break.
func forged(by string) string {
	return "app\r\n" + `{"time":"2026-01-01T00:00:00Z","level":"error","message":"forged by the ` + by + `"}` + "\n"
}

// TestALineBreakBeginsNoLineOfTheLog logs texts of tenants and registries: none starts a line.
func TestALineBreakBeginsNoLineOfTheLog(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	quoted := func(by string) string {
		text, err := json.Marshal(forged(by))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	u.with(tagYAML("talkative", world.faulty.address+"/talkative/app:latest"), "apply -f -")
	u.eventually("the registry's error in the log", func() error {
		if len(world.logs.lines("import failed", u.namespace, "forged by the registry")) == 0 {
			return errors.New("it is not there")
		}
		return nil
	})
	u.with(strings.Replace(deploymentYAML("pinned", "myapp"), "annotations:", "annotations:\n    images.io/pinned: "+quoted("record")+"\n    images.io/requested: "+quoted("annotation"), 1), "apply -f -")
	u.with(strings.Replace(deploymentYAML("named", "myapp"), "image: myapp", "image: "+quoted("image")[:len(quoted("image"))-3]+`"`, 1), "apply -f -")
	u.with(strings.Replace(tagYAML("annotated", u.source()), "metadata:", "metadata:\n  annotations:\n    images.io/requested-generation: "+quoted("request"), 1), "apply -f -")
	u.moved("myapp", 1)
	for _, line := range world.logs.lines("forged by the ") {
		if strings.HasPrefix(line, `{"time":"2026-01-01T00:00:00Z"`) || !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is not the manager's: %s", line)
		}
	}
}
