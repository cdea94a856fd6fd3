package registry_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

var (
	_ manager.Runnable               = &registriesconf.Config{}
	_ manager.LeaderElectionRunnable = &registriesconf.Config{}
)

func TestRegistriesConf_Locations(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	u.Push(t, "team/app", "latest", "one")
	u.Push(t, "cache/team/app", "latest", "one")
	pinned := u.Push(t, "cache/pinned/app", "latest", "one")
	const from = "registry.example.com/team/app"
	for _, row := range []struct {
		name, conf, from string
		// asked is host and path of the HEADs that arrived.
		asked []string
	}{
		{name: "as they are, when nothing matches", conf: `[[registry]]
			prefix = "other.example.com"
			location = "mirror.example.com"`,
			asked: []string{"registry.example.com/team/app"}},
		{name: "at the location", conf: `[[registry]]
			prefix = "registry.example.com"
			location = "mirror.example.com/cache"`,
			asked: []string{"mirror.example.com/cache/team/app"}},
		{name: "at the location of the longest prefix", conf: `[[registry]]
			prefix = "registry.example.com"
			location = "other.example.com"
			[[registry]]
			prefix = "registry.example.com/team"
			location = "mirror.example.com/cache/team"`,
			asked: []string{"mirror.example.com/cache/team/app"}},
		{name: "at the location of a wildcard", conf: `[[registry]]
			prefix = "*.example.com"
			location = "mirror.example.com/cache"`,
			asked: []string{"mirror.example.com/cache/team/app"}},
		{name: "at the mirror, when it has it", conf: `[[registry]]
			location = "registry.example.com"
			[[registry.mirror]]
			location = "mirror.example.com/cache"`,
			asked: []string{"mirror.example.com/cache/team/app"}},
		{name: "at the second mirror, when the first has it not", conf: `[[registry]]
			location = "registry.example.com"
			[[registry.mirror]]
			location = "other.example.com/nothing"
			[[registry.mirror]]
			location = "mirror.example.com/cache"`,
			asked: []string{"other.example.com/nothing/team/app", "mirror.example.com/cache/team/app"}},
		{name: "at the location, when no mirror has it", conf: `[[registry]]
			location = "registry.example.com"
			[[registry.mirror]]
			location = "other.example.com/nothing"`,
			asked: []string{"other.example.com/nothing/team/app", "registry.example.com/team/app"}},
		{name: "not at a mirror for digests, when it is a tag", conf: `[[registry]]
			location = "registry.example.com"
			[[registry.mirror]]
			location = "mirror.example.com/cache"
			pull-from-mirror = "digest-only"`,
			asked: []string{"registry.example.com/team/app"}},
		{name: "at a mirror for digests, when it is one", from: "registry.example.com/pinned/app@" + pinned, conf: `[[registry]]
			location = "registry.example.com"
			[[registry.mirror]]
			location = "mirror.example.com/cache"
			pull-from-mirror = "digest-only"`,
			asked: []string{"mirror.example.com/cache/pinned/app"}},
		{name: "at the location of another port only for that port", from: "registry.example.com:8443/team/app", conf: `[[registry]]
			prefix = "registry.example.com"
			location = "mirror.example.com/cache"`,
			asked: []string{"registry.example.com:8443/team/app"}},
		{name: "at the location of Docker Hub", from: "team/app", conf: `[[registry]]
			prefix = "docker.io"
			location = "mirror.example.com/cache"`,
			asked: []string{"mirror.example.com/cache/team/app"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			u.ClearLog()
			image := row.from
			if image == "" {
				image = from
			}
			client := newClient(t, u, throughProxy(t, u), configuredBy(t, "%s", row.conf))
			if _, err := resolve(t, client, image, anonymous); err != nil {
				t.Fatal(err)
			}
			var asked []string
			for _, r := range u.Requests("HEAD", "") {
				path, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/v2"), "/manifests/")
				asked = append(asked, r.Host+path)
			}
			if strings.Join(asked, " ") != strings.Join(row.asked, " ") {
				t.Errorf("asked %v, want %v", asked, row.asked)
			}
		})
	}
}

func TestWhatTheAdministratorBlocksIsRefused(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	client := newClient(t, u, throughProxy(t, u), configuredBy(t, `
		[[registry]]
		location = "registry.example.com"
		blocked = true
		[[registry]]
		prefix = "other.example.com/evil"
		location = "other.example.com/evil"
		blocked = true`))
	for _, from := range []string{"registry.example.com/team/app", "registry.example.com:8443/team/app", "other.example.com/evil/app"} {
		if got := failure(t, client, from, anonymous); got.Reason() != v1.ReasonRefusedByPolicy || !got.Terminal() || !strings.Contains(got.Error(), "registries.conf") {
			t.Errorf("%s: %s %v", from, got.Reason(), got)
		}
	}
	if count := u.Count("", ""); count != 0 {
		t.Errorf("%d requests arrived", count)
	}
	u.Push(t, "evil-twin/app", "latest", "one")
	if _, err := resolve(t, client, "other.example.com/evil-twin/app", anonymous); err != nil {
		t.Errorf("what only begins like a blocked path: %v", err)
	}
}

func TestRegistriesConf_NamespaceProxy(t *testing.T) {
	client := newClient(t, nil, configuredBy(t, "[[registry]]\nlocation = \"registry.example.com\"\nnamespace-proxy = \"x\"\n"))
	if got := failure(t, client, "registry.example.com/team/app", anonymous); got.Reason() != v1.ReasonRefusedByPolicy || !strings.Contains(got.Error(), "namespace-proxy") {
		t.Errorf("%s %v", got.Reason(), got)
	}
}

func TestRegistriesConf_MirrorCredentials(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	u.Push(t, "team/app", "latest", "one")
	credentials := keyring(t, auths(t, map[string]map[string]string{
		"registry.example.com": login("original", "o"),
		"mirror.example.com":   login("mirror", "m"),
	}))
	client := newClient(t, u, throughProxy(t, u), configuredBy(t, `
		[[registry]]
		location = "registry.example.com"
		[[registry.mirror]]
		location = "other.example.com/nothing"
		[[registry.mirror]]
		location = "mirror.example.com"`))
	if _, err := resolve(t, client, "registry.example.com/team/app", credentials); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"other.example.com": "", "mirror.example.com": basic("mirror", "m")}
	for _, r := range u.Requests("HEAD", "") {
		if r.Authorization != want[r.Host] {
			t.Errorf("%s was shown %q", r.Host, r.Authorization)
		}
	}
}

func TestRegistriesConf_FailuresOfMirrors(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	client := newClient(t, u, throughProxy(t, u), configuredBy(t, `
		[[registry]]
		prefix = "registry.example.com"
		location = "registry.invalid"
		[[registry.mirror]]
		location = "mirror.example.com"`))
	got := failure(t, client, "registry.example.com/team/app:v1", anonymous)
	for _, want := range []string{"registry.example.com/team/app:v1", "asked for at registry.invalid/team/app:v1", "its mirrors failed", "mirror.example.com answered 404"} {
		if !strings.Contains(got.Error(), want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	if got.Reason() != v1.ReasonUnavailable {
		t.Errorf("the reason is %s, want the location's", got.Reason())
	}
}

// conf is a registries.conf that changes.
type conf struct {
	*registriesconf.Config
	path     string
	clock    *clocktesting.FakeClock
	problems chan error
	changes  chan struct{}
}

// newConf loads the content, nil meaning no file, and watches it.
func newConf(t *testing.T, content *string) *conf {
	t.Helper()
	c := &conf{
		path:     filepath.Join(t.TempDir(), "registries.conf"),
		clock:    clocktesting.NewFakeClock(time.Now()),
		problems: make(chan error, 100), changes: make(chan struct{}, 100),
	}
	if content != nil {
		c.write(t, *content)
	}
	loaded, err := registriesconf.Load(c.path, func(err error) { c.problems <- err }, c.clock)
	if err != nil {
		t.Fatal(err)
	}
	c.Config = loaded
	c.OnChange(func() { c.changes <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	eventually(t, c.clock.HasWaiters)
	return c
}

// write replaces the file at once, as the kubelet does.
func (c *conf) write(t *testing.T, content string) {
	t.Helper()
	replaceFile(t, c.path, content)
}

func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// tick lets as much time pass as an edit may take to count, minus a second.
func (c *conf) tick() {
	c.clock.Step(2 * time.Second)
	c.clock.Step(2 * time.Second)
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	if !happens(10*time.Second, holds) {
		t.Fatal("it did not happen within 10 s")
	}
}

// happens says whether it holds within the limit.
func happens(limit time.Duration, holds func() bool) bool {
	deadline := time.After(limit)
	for !holds() {
		select {
		case <-deadline:
			return false
		case <-time.After(time.Millisecond):
		}
	}
	return true
}

func unqualified(registries string) *string {
	content := "unqualified-search-registries = [" + registries + "]\n"
	return &content
}

func TestTheUnqualifiedRegistryIsTheOnlyOne(t *testing.T) {
	for _, row := range []struct {
		name    string
		content *string
		want    string
	}{
		{name: "no file"},
		{name: "none", content: unqualified(``)},
		{name: "one", content: unqualified(`"registry.example.com:5000"`), want: "registry.example.com:5000"},
		{name: "two, which is ambiguous", content: unqualified(`"registry.example.com", "docker.io"`)},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := newConf(t, row.content).UnqualifiedRegistry(); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestEditsCountWithinTheInterval(t *testing.T) {
	c := newConf(t, nil)
	for _, want := range []string{"one.example.com", "two.example.com"} {
		c.write(t, *unqualified(`"` + want + `"`))
		c.tick()
		<-c.changes
		if got := c.UnqualifiedRegistry(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := os.Remove(c.path); err != nil {
		t.Fatal(err)
	}
	c.tick()
	<-c.changes
	if got := c.UnqualifiedRegistry(); got != "" {
		t.Errorf("without a file: %q", got)
	}
	if len(c.problems) > 0 {
		t.Error(<-c.problems)
	}
}

func TestAnEditMovesWhereSourcesAreAskedFor(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	want := u.Push(t, "cache/team/app", "latest", "one")
	c := newConf(t, nil)
	client := newClient(t, u, throughProxy(t, u), func(options *registry.Options) { options.Configuration = c.Config })
	if got := failure(t, client, "registry.example.com/team/app", anonymous); got.Reason() != v1.ReasonNotFound {
		t.Fatalf("%s %v", got.Reason(), got)
	}
	c.write(t, "[[registry]]\nprefix = \"registry.example.com\"\nlocation = \"mirror.example.com/cache\"\n")
	c.tick()
	<-c.changes
	resolved(t, client, "registry.example.com/team/app", anonymous, want)
}

// corrected puts a good file in the place of a bad one, and is sure that it was looked at.
func (c *conf) corrected(t *testing.T, registry string) {
	t.Helper()
	c.tick()
	c.write(t, *unqualified(`"` + registry + `"`))
	c.tick()
	<-c.changes
	if got := c.UnqualifiedRegistry(); got != registry {
		t.Errorf("after the correction: %q", got)
	}
	if more := len(c.problems); more > 0 {
		t.Errorf("reported %d times more", more)
	}
}

func TestRegistriesConf_InvalidKeepsPrevious(t *testing.T) {
	for name, row := range map[string]struct{ content, want string }{
		"malformed": {content: "[[registry]]\nlocation = 7\n", want: "registries.conf is malformed"},
		"too large": {content: strings.Repeat("#", 1<<20+1), want: "registries.conf is larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConf(t, unqualified(`"good.example.com"`))
			c.write(t, row.content)
			c.tick()
			if problem := <-c.problems; !strings.Contains(problem.Error(), row.want) {
				t.Errorf("reported %v, want %q", problem, row.want)
			}
			if got := c.UnqualifiedRegistry(); got != "good.example.com" || len(c.changes) > 0 {
				t.Errorf("in force is %q after %d changes", got, len(c.changes))
			}
			c.corrected(t, "better.example.com")
		})
	}
}

func TestAMalformedFileAtTheStartIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registries.conf")
	for _, content := range []string{"[[registry", "[registries.search]\nregistries = [\"docker.io\"]\n", "[[registry]]\nblocked = true\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := registriesconf.Load(path, nil, nil); err == nil || !strings.Contains(err.Error(), "registries.conf is malformed") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestWithoutAPathNothingIsConfigured(t *testing.T) {
	empty, err := registriesconf.Load("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := empty.Start(ctx); err != nil || empty.UnqualifiedRegistry() != "" || empty.NeedLeaderElection() {
		t.Errorf("%v, %q", err, empty.UnqualifiedRegistry())
	}
}

func TestRegistriesConf_UnusableName(t *testing.T) {
	client := newClient(t, nil, configuredBy(t, "[[registry]]\nprefix = \"registry.example.com\"\nlocation = \"UPPER/Case\"\n"))
	got := failure(t, client, "registry.example.com/team/app", anonymous)
	if got.Reason() != v1.ReasonInvalidReference || !got.Terminal() || errors.Unwrap(got) == nil {
		t.Errorf("%s %v", got.Reason(), got)
	}
}
