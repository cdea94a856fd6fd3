package registry_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
	"github.com/images-io/tagger/internal/registry/transport"
)

var (
	_ manager.Runnable               = &transport.CABundle{}
	_ manager.LeaderElectionRunnable = &transport.CABundle{}
)

// bundle is a bundle of CAs that changes.
type bundle struct {
	*transport.CABundle
	path     string
	clock    *clocktesting.FakeClock
	problems chan error
	changes  chan struct{}
}

func newBundle(t *testing.T, content string) *bundle {
	t.Helper()
	b := &bundle{
		path:     filepath.Join(t.TempDir(), "ca.pem"),
		clock:    clocktesting.NewFakeClock(time.Now()),
		problems: make(chan error, 100), changes: make(chan struct{}, 100),
	}
	b.write(t, content)
	loaded, err := transport.LoadCABundle(b.path, func(err error) { b.problems <- err }, b.clock)
	if err != nil {
		t.Fatal(err)
	}
	b.CABundle = loaded
	return b
}

// start looks at the file, and tells of changes after everybody else was told.
func (b *bundle) start(t *testing.T) {
	t.Helper()
	b.OnChange(func() { b.changes <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	eventually(t, b.clock.HasWaiters)
}

func (b *bundle) write(t *testing.T, content string) {
	t.Helper()
	replaceFile(t, b.path, content)
}

func (b *bundle) tick() {
	b.clock.Step(2 * time.Second)
	b.clock.Step(2 * time.Second)
}

func authority(t *testing.T, u *registrytest.Upstream) string {
	t.Helper()
	content, err := os.ReadFile(u.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestCABundle_Reload(t *testing.T) {
	first, second := registrytest.NewUpstream(t, nil), registrytest.NewUpstream(t, nil)
	want := first.Push(t, "team/app", "latest", "one")
	second.Push(t, "team/app", "latest", "one")
	authorities := newBundle(t, authority(t, first))
	client := newClient(t, nil, listing(t, first.Host(), second.Host()), func(options *registry.Options) { options.CABundle = authorities.CABundle })
	authorities.start(t)
	distrusted := func(u *registrytest.Upstream) {
		t.Helper()
		if got := failure(t, client, u.Host()+"/team/app", anonymous); !strings.Contains(got.Error(), "authority that is not trusted") {
			t.Errorf("%v", got)
		}
	}
	resolved(t, client, first.Host()+"/team/app", anonymous, want)
	distrusted(second)

	authorities.write(t, authority(t, first)+authority(t, second))
	authorities.tick()
	<-authorities.changes
	resolved(t, client, first.Host()+"/team/app", anonymous, want)
	resolved(t, client, second.Host()+"/team/app", anonymous, want)

	// The connection to the first one is still open, and does not count any more.
	authorities.write(t, authority(t, second))
	authorities.tick()
	<-authorities.changes
	distrusted(first)
	resolved(t, client, second.Host()+"/team/app", anonymous, want)
}

func TestCABundle_InvalidKeepsPrevious(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	want := u.Push(t, "team/app", "latest", "one")
	good := authority(t, u)
	for name, row := range map[string]struct{ content, want string }{
		"nothing":                 {content: "", want: "holds 0 PEM certificates"},
		"no certificate":          {content: "hello", want: "holds 0 PEM certificates"},
		"half of it":              {content: good + good[:len(good)/2], want: "holds 1 PEM certificates that can be read, and announces 2"},
		"something else in PEM":   {content: "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", want: "is malformed"},
		"missing":                 {want: "file does not exist"},
		"larger than a ConfigMap": {content: strings.Repeat("#", 1<<20+1), want: "is larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			authorities := newBundle(t, good)
			client := newClient(t, nil, listing(t, u.Host()), func(options *registry.Options) { options.CABundle = authorities.CABundle })
			authorities.start(t)
			if name == "missing" {
				if err := os.Remove(authorities.path); err != nil {
					t.Fatal(err)
				}
			} else {
				authorities.write(t, row.content)
			}
			authorities.tick()
			if problem := <-authorities.problems; !strings.Contains(problem.Error(), row.want) || !strings.Contains(problem.Error(), authorities.path) {
				t.Errorf("reported %v, want %q and the file", problem, row.want)
			}
			authorities.tick()
			authorities.write(t, good+good)
			authorities.tick()
			<-authorities.changes
			if more := len(authorities.problems) + len(authorities.changes); more > 0 {
				t.Errorf("%d reports or changes too many", more)
			}
			resolved(t, client, u.Host()+"/team/app", anonymous, want)
		})
	}
}

func TestABadBundleServesNobodyAtTheStart(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{empty: "holds 0 PEM certificates", empty + ".missing": "file does not exist"} {
		if _, err := transport.LoadCABundle(path, nil, nil); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want %q and the file", err, want)
		}
	}
}

func TestCABundle_SystemAuthorities(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	none, err := transport.LoadCABundle("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, nil, listing(t, u.Host()), func(options *registry.Options) { options.CABundle = none })
	if got := failure(t, client, u.Host()+"/team/app", anonymous); !strings.Contains(got.Error(), "authority that is not trusted") {
		t.Errorf("%v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := none.Start(ctx); err != nil || none.NeedLeaderElection() {
		t.Error(err)
	}
}
