package reference_test

import (
	"slices"
	"testing"

	"github.com/images-io/tagger/internal/reference"
)

func TestKey_SpellingsOfOneImage(t *testing.T) {
	for name, row := range map[string]struct{ registry, repository, tag, want string }{
		"a registry":                     {"quay.io", "company/myapp", "latest", "quay.io/company/myapp:latest"},
		"a repository":                   {"quay.io", "company/myapp", "", "quay.io/company/myapp"},
		"a host in upper case":           {"Quay.IO", "company/myapp", "1", "quay.io/company/myapp:1"},
		"the port of HTTPS":              {"quay.io:443", "company/myapp", "1", "quay.io/company/myapp:1"},
		"another port":                   {"registry.example.com:5000", "app", "1", "registry.example.com:5000/app:1"},
		"an official image":              {"docker.io", "nginx", "1", "docker.io/library/nginx:1"},
		"an official image with library": {"docker.io", "library/nginx", "1", "docker.io/library/nginx:1"},
		"the index of Docker Hub":        {"index.docker.io", "team/app", "1", "docker.io/team/app:1"},
		"the registry of Docker Hub":     {"registry-1.docker.io", "nginx", "", "docker.io/library/nginx"},
		"the site of Docker Hub":         {"registry.hub.docker.com", "team/app", "", "docker.io/team/app"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := reference.Key(row.registry, row.repository, row.tag); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestKeys_OfSources(t *testing.T) {
	const digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for from, want := range map[string][]string{
		"quay.io/company/myapp":            {"quay.io/company/myapp", "quay.io/company/myapp:latest"},
		"docker.io/nginx:1.27":             {"docker.io/library/nginx", "docker.io/library/nginx:1.27"},
		"registry-1.docker.io/team/app:1":  {"docker.io/team/app", "docker.io/team/app:1"},
		"quay.io:443/company/myapp:2":      {"quay.io/company/myapp", "quay.io/company/myapp:2"},
		"nginx:1.27":                       nil,
		"quay.io/company/myapp" + digest:   nil,
		"quay.io/company/myapp:1" + digest: nil,
	} {
		t.Run(from, func(t *testing.T) {
			source, err := reference.Parse(from, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := source.Keys(); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
