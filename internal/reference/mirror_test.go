package reference_test

import (
	"strings"
	"testing"

	"github.com/images-io/tagger/internal/reference"
)

const mirrored = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestWhereATagIsMirrored(t *testing.T) {
	for name, row := range map[string]struct {
		push, pull          string
		address, path, node string
	}{
		"one address":                  {"registry.test", "registry.test", "registry.test", "dev/myapp", "registry.test/dev/myapp"},
		"a port":                       {"registry:5000", "registry:5000", "registry:5000", "dev/myapp", "registry:5000/dev/myapp"},
		"a prefix":                     {"registry:5000/a/b", "registry:5000/a/b", "registry:5000", "a/b/dev/myapp", "registry:5000/a/b/dev/myapp"},
		"a scheme, and a slash at end": {"https://registry.test/a/", "http://registry.test/a/", "registry.test", "a/dev/myapp", "registry.test/a/dev/myapp"},
		"an IPv6 address":              {"[fd00::1]:5000", "[fd00::1]:5000", "[fd00::1]:5000", "dev/myapp", "[fd00::1]:5000/dev/myapp"},
		"nodes read elsewhere":         {"registry.kube-system:5000", "localhost:5000", "registry.kube-system:5000", "dev/myapp", "localhost:5000/dev/myapp"},
	} {
		t.Run(name, func(t *testing.T) {
			mirror, err := reference.ParseMirror(row.push, row.pull)
			if err != nil {
				t.Fatal(err)
			}
			at, err := mirror.Repository("dev", "myapp")
			if err != nil || at.Address != row.address || at.Path != row.path || at.AtDigest(mirrored) != row.node+"@"+mirrored {
				t.Errorf("got %+v, %v", at, err)
			}
			if digest, ok := at.DigestOf(row.node + "@" + mirrored); !ok || digest != mirrored {
				t.Errorf("its own image is of digest %q, %v", digest, ok)
			}
			if _, ok := at.DigestOf("elsewhere.test/dev/myapp@" + mirrored); ok {
				t.Error("an image of another registry is taken for its own")
			}
		})
	}
}

func TestParseMirror_Malformed(t *testing.T) {
	for name, address := range map[string]string{
		"nothing":                             "",
		"a host that nodes take for a path":   "registry",
		"a prefix in upper case":              "registry.test/Mirror",
		"a user and a password":               "u:hunter2@registry.test",
		"a query":                             "registry.test/a?b=c",
		"an empty segment":                    "registry.test/a//b",
		"what only begins like a host's name": "registry.test:port",
	} {
		t.Run(name, func(t *testing.T) {
			if mirror, err := reference.ParseMirror(address, address); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %s, %v", mirror, err)
			}
		})
	}
}

func TestARepositoryThatIsTooLongIsAnError(t *testing.T) {
	mirror, err := reference.ParseMirror("registry.test/"+strings.Repeat("a", 240), "registry.test")
	if err != nil {
		t.Fatal(err)
	}
	if at, err := mirror.Repository("dev", "myapp-devel"); err == nil {
		t.Errorf("got %s", at)
	}
}
