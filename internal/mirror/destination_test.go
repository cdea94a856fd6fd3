package mirror

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/transfer"
)

const image = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func hosting(text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ConfigMapNamespace, Name: ConfigMapName}, Data: map[string]string{hostingKey: text}}
}

func TestLocalRegistry_AddressesOfTheKEP(t *testing.T) {
	for name, row := range map[string]struct{ text, push, pull string }{
		"host alone":                   {`host: "localhost:5000"`, "localhost:5000", "localhost:5000"},
		"the cluster's network":        {"host: localhost:5000\nhostFromClusterNetwork: registry:5000", "registry:5000", "localhost:5000"},
		"the container runtime":        {"host: localhost:5000\nhostFromContainerRuntime: node:5000", "localhost:5000", "node:5000"},
		"all three, and what is extra": {"host: a:1\nhostFromClusterNetwork: b:2\nhostFromContainerRuntime: c:3\nhelp: https://kind.sigs.k8s.io", "b:2", "c:3"},
	} {
		t.Run(name, func(t *testing.T) {
			mirror, err := localRegistry(hosting(row.text).Data)
			if err != nil {
				t.Fatal(err)
			}
			at, err := mirror.Repository("dev", "myapp")
			if err != nil || at.Address != row.push || at.AtDigest("x") != row.pull+"/dev/myapp@x" {
				t.Errorf("got %+v, %v", at, err)
			}
		})
	}
}

func TestLocalRegistry_Malformed(t *testing.T) {
	for name, data := range map[string]map[string]string{
		"another key":               {"localRegistryHosting.v2": "host: localhost:5000"},
		"not YAML":                  {hostingKey: "{"},
		"no host":                   {hostingKey: "help: https://kind.sigs.k8s.io"},
		"a host that is no address": {hostingKey: "host: http://u:hunter2@registry.test"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := localRegistry(data); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

func TestTheConfigMapCountsWhenItChanges(t *testing.T) {
	m, err := New(nil, config.CacheRegistry{Username: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	changes := 0
	m.OnChange(func() { changes++ })
	is := func(want string) {
		t.Helper()
		at, err := m.Destination()
		var failure importer.Failure
		if err != nil && (!errors.As(err, &failure) || failure.Reason() != v1.ReasonMirrorNotConfigured) {
			t.Fatal(err)
		}
		if got := at.String(); err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, %v; want %s", got, err, want)
		}
	}
	is("set CACHE_REGISTRY_ADDRESS")
	m.learn(hosting("host: localhost:5000"))
	is("localhost:5000")
	m.learn(hosting("host: registry"))
	is("the ConfigMap local-registry-hosting in the namespace kube-public cannot be used")
	m.learn(hosting("{"))
	is("not YAML")
	m.learn(hosting("host: localhost:5001"))
	m.learn(hosting("host: localhost:5001\nhelp: https://kind.sigs.k8s.io"))
	is("localhost:5001")
	if changes != 4 {
		t.Errorf("it was told %d times", changes)
	}
	at, err := m.at.Repository("dev", "myapp")
	if to := m.repository(at); err != nil || to.Username != "" || to.Password != "" || !to.Insecure {
		t.Errorf("the environment's password is for the environment's registry, and the ConfigMap's is insecure: %+v, %v", to, err)
	}
}

func TestTheEnvironmentComesFirst(t *testing.T) {
	m, err := New(nil, config.CacheRegistry{Address: "registry.test/mirror", Username: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	mirror, err := m.Destination()
	if err != nil {
		t.Fatal(err)
	}
	at, err := mirror.Repository("dev", "myapp")
	if to := m.repository(at); err != nil || to.Path != "mirror/dev/myapp" || to.Username != "u" || to.Password != "p" || to.Insecure {
		t.Errorf("got %+v, %v", to, err)
	}
}

func TestRemove_ImageOfAnotherRegistry(t *testing.T) {
	m, err := New(nil, config.CacheRegistry{Address: "registry.test"})
	if err != nil {
		t.Fatal(err)
	}
	tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "myapp"}}
	for _, elsewhere := range []string{"former.test/dev/myapp", "registry.test/dev/other", "registry.test/prod/myapp"} {
		err := m.Remove(t.Context(), tag, v1.MirroredImage{ImageReference: elsewhere + image}, nil)
		if !errors.Is(err, transfer.ErrOtherRegistry) {
			t.Errorf("%s: %v", elsewhere, err)
		}
	}
}
