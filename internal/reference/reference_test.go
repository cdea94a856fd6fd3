package reference_test

import (
	"strings"
	"testing"

	"github.com/images-io/tagger/internal/reference"
)

const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestParse(t *testing.T) {
	for name, row := range map[string]struct {
		from, unqualified string
		want              string
		qualified         bool
	}{
		"a whole reference":                       {from: "quay.io/company/myapp:1.0", want: "quay.io/company/myapp:1.0", qualified: true},
		"without a tag it means latest":           {from: "quay.io/company/myapp", want: "quay.io/company/myapp:latest", qualified: true},
		"without a registry it means docker.io":   {from: "company/myapp:1.0", want: "docker.io/company/myapp:1.0"},
		"a bare name is docker.io/library":        {from: "nginx", want: "docker.io/library/nginx:latest"},
		"docker.io's other name is the same":      {from: "index.docker.io/nginx", want: "docker.io/library/nginx:latest", qualified: true},
		"the administrator's registry, qualified": {from: "nginx:1", unqualified: "registry.example.com", want: "registry.example.com/nginx:1"},
		"it is not for names with a registry":     {from: "quay.io/a/b", unqualified: "registry.example.com", want: "quay.io/a/b:latest", qualified: true},
		"docker.io named by the administrator":    {from: "nginx", unqualified: "docker.io", want: "docker.io/library/nginx:latest"},
		"a port makes a registry":                 {from: "localhost:5000/a", want: "localhost:5000/a:latest", qualified: true},
		"a digest is pinned for good":             {from: "quay.io/a/b@" + digest, want: "quay.io/a/b@" + digest, qualified: true},
		"the digest counts, not the tag":          {from: "quay.io/a/b:1.0@" + digest, want: "quay.io/a/b@" + digest, qualified: true},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := reference.Parse(row.from, row.unqualified)
			if err != nil {
				t.Fatal(err)
			}
			if source.String() != row.want || source.Qualified() != row.qualified {
				t.Errorf("got %s, qualified %v; want %s, %v", source, source.Qualified(), row.want, row.qualified)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, row := range map[string]struct{ from, says string }{
		"nothing":                    {"", "empty"},
		"what has spaces":            {"quay.io/a b", "not an image reference"},
		"an uppercase repository":    {"quay.io/Company/myapp", "lowercase"},
		"an uppercase organisation":  {"Company/myapp", "lowercase"},
		"10 KB":                      {"quay.io/" + strings.Repeat("a", 10<<10), "more than the 512 allowed"},
		"a scheme":                   {"https://quay.io/a/b", "not an image reference"},
		"credentials in the name":    {"user:secret@quay.io/a/b", "not an image reference"},
		"a digest that is too short": {"quay.io/a/b@sha256:abc", "not an image reference"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := reference.Parse(row.from, ""); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %v, want an error that says %q", err, row.says)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	repository, got, ok := reference.Split("quay.io/a/b@" + digest)
	if !ok || repository != "quay.io/a/b" || got != digest {
		t.Errorf("got %q, %q, %v", repository, got, ok)
	}
	for _, image := range []string{"quay.io/a/b:1.0", "nginx", "quay.io/a/b@sha256:zz", "@" + digest} {
		if _, _, ok := reference.Split(image); ok {
			t.Errorf("%s is taken for an image by digest", image)
		}
	}
}

func TestIsTagName(t *testing.T) {
	for image, want := range map[string]bool{
		"myapp-devel": true, "nginx": true, "nginx:1": false, "a/b": false, "My": false, "a.b": false, "": false, "not-imported.invalid/dev/myapp": false,
	} {
		if got := reference.IsTagName(image); got != want {
			t.Errorf("%q: got %v, want %v", image, got, want)
		}
	}
}
