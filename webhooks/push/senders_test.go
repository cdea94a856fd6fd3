package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fixture returns the body of testdata/NAME.json.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// headers returns headers from pairs of names and values.
func headers(pairs ...string) http.Header {
	made := http.Header{}
	for pair := range slices.Chunk(pairs, 2) {
		made.Set(pair[0], pair[1])
	}
	return made
}

// row is a notification: its fixture, its headers and the hints or the error that it gives.
type row struct {
	fixture string
	header  http.Header
	want    []Hint
	err     string
}

var rows = []row{
	{fixture: "docker/push", want: []Hint{{"docker.io", "svendowideit/testhook", "latest"}}},
	{fixture: "docker/without-repo-name", want: []Hint{{"docker.io", "company/myapp", "1.2"}}},
	{fixture: "docker/null-repository", err: "the field repository.repo_name is missing or empty"},
	{fixture: "docker/without-tag", err: "the field push_data.tag is missing or empty"},

	{fixture: "quay/push", want: []Hint{{"quay.io", "mynamespace/repository", "latest"}, {"quay.io", "mynamespace/repository", "foo"}, {"quay.io", "mynamespace/repository", "bar"}}},
	{fixture: "quay/object-of-tags", want: []Hint{{"quay.io", "mynamespace/repository", "latest"}, {"quay.io", "mynamespace/repository", "v2"}}},
	{fixture: "quay/build-failure"},
	{fixture: "quay/tags-of-wrong-type", err: "the body is not valid JSON"},
	{fixture: "quay/without-registry", err: "the field docker_url is not HOST/REPOSITORY"},

	{fixture: "harbor/push", want: []Hint{{"harbor.example.com", "library/alpine", "v1"}}},
	{fixture: "harbor/push-of-harbor-1", want: []Hint{{"hub.example.com:8443", "test-webhook/debian", "latest"}}},
	{fixture: "harbor/push-by-digest", want: []Hint{{"harbor.example.com", "library/alpine", ""}}},
	{fixture: "harbor/cloudevent", want: []Hint{{"harbor.example.com", "library/alpine", "v1.0"}}},
	{fixture: "harbor/cloudevent-data", header: headers("Ce-Specversion", "1.0", "Ce-Type", "harbor.artifact.pushed"), want: []Hint{{"harbor.example.com", "library/alpine", "v1.0"}}},
	{fixture: "harbor/cloudevent-deleted"},
	{fixture: "harbor/chart"},
	{fixture: "harbor/null-data", err: "the field resources is missing or empty"},
	{fixture: "harbor/bad-url", err: "the field resource_url is not HOST/REPOSITORY with a tag or a digest"},

	{fixture: "github/published", header: headers("X-GitHub-Event", "package"), want: []Hint{{"ghcr.io", "company/hello_docker", "latest"}}},
	{fixture: "github/registry-package", header: headers("X-GitHub-Event", "registry_package"), want: []Hint{{"ghcr.io", "company/myapp", "v2"}}},
	{fixture: "github/untagged", header: headers("X-GitHub-Event", "package"), want: []Hint{{"ghcr.io", "company/myapp", ""}}},
	{fixture: "github/npm", header: headers("X-GitHub-Event", "package")},
	{fixture: "github/ping", header: headers("X-GitHub-Event", "ping")},
	{fixture: "github/null-package", header: headers("X-GitHub-Event", "package"), err: "the field package is missing or empty"},
	{fixture: "github/without-owner", header: headers("X-GitHub-Event", "package"), err: "the field package.owner.login or package.name is missing or empty"},

	{fixture: "distribution/push", want: []Hint{{"192.168.100.227:5000", "hello-world", "latest"}}},
	{fixture: "distribution/two-tags", want: []Hint{{"registry.example.com", "team/app", "1"}, {"registry.example.com", "team/app", "2"}}},
	{fixture: "distribution/layers-and-pulls"},
	{fixture: "distribution/null-target", err: "the field target is missing or empty"},
	{fixture: "distribution/null-events", err: "the field events is missing or empty"},

	{fixture: "acr/push", want: []Hint{{"myregistry.azurecr.io", "hello-world", "v1"}}},
	{fixture: "acr/chart"},
	{fixture: "acr/ping"},
	{fixture: "acr/delete"},
	{fixture: "acr/null-target", err: "the field target is missing or empty"},

	{fixture: "ecr/push", want: []Hint{{"123456789012.dkr.ecr.us-west-2.amazonaws.com", "my-repository-name", "latest"}}},
	{fixture: "ecr/push-in-china", want: []Hint{{"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "team/app", "1"}}},
	{fixture: "ecr/delete"},
	{fixture: "ecr/failure"},
	{fixture: "ecr/scan"},
	{fixture: "ecr/bad-account", err: "the field account is not an account ID of 12 digits"},
	{fixture: "ecr/bad-region", err: "the field region is not a region"},
	{fixture: "ecr/null-detail", err: "the field detail is missing or empty"},

	{fixture: "gar/insert", want: []Hint{{"us-east1-docker.pkg.dev", "my-project/my-repo/hello-world", "1.1"}}},
	{fixture: "gar/insert-without-tag"},
	{fixture: "gar/delete"},
	{fixture: "gar/bad-tag", err: "the field tag is not HOST/REPOSITORY:TAG"},
	{fixture: "gar/null-message", err: "the field message.data is missing or empty"},

	{fixture: "artifactory/push", want: []Hint{{"", "myapp", "latest"}, {"", "docker-local/myapp", "latest"}}},
	{fixture: "artifactory/deleted"},
	{fixture: "artifactory/artifact"},
	{fixture: "artifactory/null-data", err: "the field data.image_name is missing or empty"},

	{fixture: "nexus/created", header: headers("X-Nexus-Webhook-Id", "rm:repository:component"), want: []Hint{{"", "company/myapp", "latest"}}},
	{fixture: "nexus/created", header: headers("X-Nexus-Webhook-Id", "rm:repository:asset")},
	{fixture: "nexus/deleted", header: headers("X-Nexus-Webhook-Id", "rm:repository:component")},
	{fixture: "nexus/npm", header: headers("X-Nexus-Webhook-Id", "rm:repository:component")},
	{fixture: "nexus/by-digest", header: headers("X-Nexus-Webhook-Id", "rm:repository:component")},
	{fixture: "nexus/null-component", header: headers("X-Nexus-Webhook-Id", "rm:repository:component"), err: "the field component is missing or empty"},

	{fixture: "gitea/created", header: headers("X-Gitea-Event", "package"), want: []Hint{{"gitea.example.com:3000", "company/myapp", "latest"}}},
	{fixture: "gitea/created", header: headers("X-Forgejo-Event", "package"), want: []Hint{{"gitea.example.com:3000", "company/myapp", "latest"}}},
	{fixture: "gitea/created", header: headers("X-Gitea-Event", "release")},
	{fixture: "gitea/by-digest", header: headers("X-Gitea-Event", "package")},
	{fixture: "gitea/npm", header: headers("X-Gitea-Event", "package")},
	{fixture: "gitea/deleted", header: headers("X-Gitea-Event", "package")},
	{fixture: "gitea/null-package", header: headers("X-Gitea-Event", "package"), err: "the field package is missing or empty"},
	{fixture: "gitea/bad-url", header: headers("X-Gitea-Event", "package"), err: "the field package.html_url is not a URL"},

	{fixture: "zot/updated", want: []Hint{{"", "company/myapp", "latest"}}},
	{fixture: "zot/updated-data", header: headers("Ce-Specversion", "1.0", "Ce-Type", "my.prefix.image.updated"), want: []Hint{{"", "company/myapp", "v2"}}},
	{fixture: "zot/by-digest"},
	{fixture: "zot/deleted"},
	{fixture: "zot/no-cloudevent", err: "the field specversion is missing or empty"},
	{fixture: "zot/null-data", err: "the body is not a JSON object"},

	{fixture: "generic/image", want: []Hint{{"registry.example.com:5000", "team/app", "1.2"}}},
	{fixture: "generic/images", want: []Hint{{"quay.io", "company/myapp", "latest"}, {"docker.io", "library/nginx", "1.27"}}},
	{fixture: "generic/cloudevent", want: []Hint{{"registry.gitlab.com", "group/project", "main"}}},
	{fixture: "generic/bad-image", err: "an image is not a reference such as quay.io/company/myapp:latest"},
	{fixture: "generic/nothing", err: "the field image or images is missing or empty"},
	{fixture: "generic/image-of-wrong-type", err: "the field image has the wrong type"},
}

// parserOf returns the parser of a fixture.
func parserOf(fixture string) parser { return senders[filepath.Dir(fixture)].parse }

func TestParse_Fixtures(t *testing.T) {
	tested := map[string]bool{}
	for _, row := range rows {
		tested[row.fixture] = true
		t.Run(row.fixture+fmt.Sprint(row.header), func(t *testing.T) {
			got, err := parserOf(row.fixture)(row.header, fixture(t, row.fixture))
			if !slices.Equal(got, row.want) || row.err == "" && err != nil || row.err != "" && (err == nil || err.Error() != row.err) {
				t.Errorf("got %+v, %v; want %+v, %s", got, err, row.want, row.err)
			}
		})
	}
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".json"); !tested[name] {
			t.Errorf("no row has the fixture %s", name)
		}
	}
}

func TestParse_Form(t *testing.T) {
	for fixtureName, kind := range map[string]string{"github/published": "X-GitHub-Event", "gitea/created": "X-Gitea-Event"} {
		body := url.Values{"payload": {string(fixture(t, fixtureName))}}.Encode()
		header := headers(kind, "package", "Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		if got, err := parserOf(fixtureName)(header, []byte(body)); err != nil || len(got) != 1 {
			t.Errorf("%s: got %+v, %v", fixtureName, got, err)
		}
		if got, err := parserOf(fixtureName)(header, []byte("%")); err == nil {
			t.Errorf("%s: got %+v", fixtureName, got)
		}
	}
}

// full are headers with which every parser reads the body.
var full = headers("X-GitHub-Event", "package", "X-Nexus-Webhook-Id", "rm:repository:component", "X-Gitea-Event", "package")

func TestParse_BrokenBodies(t *testing.T) {
	deep := strings.Repeat(`{"image":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	for name := range senders {
		for _, body := range []string{"", "x", "null", "[]", "7", `"x"`, "{", `{"a":}`, "{}x", deep, strings.Repeat("[", 100_000)} {
			if got, err := senders[name].parse(full, []byte(body)); err == nil {
				t.Errorf("%s: %.20q gives %+v", name, body, got)
			}
		}
	}
}

func TestParse_TooManyImages(t *testing.T) {
	list := func(item string) string { return strings.TrimSuffix(strings.Repeat(item+",", maxHints+1), ",") }
	for name, body := range map[string]string{
		"quay":         `{"docker_url":"quay.io/a/b","updated_tags":[` + list(`"1"`) + `]}`,
		"harbor":       `{"type":"PUSH_ARTIFACT","event_data":{"resources":[` + list(`{"tag":"1","resource_url":"h.example.com/a/b:1"}`) + `]}}`,
		"distribution": `{"events":[` + list(`{"action":"push","target":{"repository":"a","tag":"1"},"request":{"host":"h.example.com"}}`) + `]}`,
		"generic":      `{"images":[` + list(`"quay.io/a/b:1"`) + `]}`,
	} {
		if !json.Valid([]byte(body)) {
			t.Fatalf("%s: not JSON", name)
		}
		if _, err := senders[name].parse(nil, []byte(body)); !errors.Is(err, errTooManyHints) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// fuzzParser looks for bodies that break the rules of a parser.
func fuzzParser(f *testing.F, name string) {
	for _, row := range rows {
		if filepath.Dir(row.fixture) == name {
			f.Add(fixture(f, row.fixture))
		}
	}
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, body []byte) {
		hints, err := senders[name].parse(full, body)
		if len(hints) > maxHints || err != nil && len(hints) > 0 {
			t.Errorf("%d hints, %v", len(hints), err)
		}
		for _, hint := range hints {
			if hint.Repository == "" {
				t.Errorf("got %+v", hint)
			}
		}
		if err == nil {
			return
		}
		const secret = 16
		for text := []byte(err.Error()); len(text) >= secret; text = text[1:] {
			if bytes.Contains(body, text[:secret]) && !isOurs(string(text[:secret])) {
				t.Errorf("the error %q has text of the body", err)
			}
		}
	})
}

// isOurs reports whether the text is part of an error that a parser has for other bodies, too.
func isOurs(text string) bool {
	const common = "the body is not valid JSON, the field has the wrong type, the field is missing or empty"
	return strings.Contains(common, text) || slices.ContainsFunc(rows, func(r row) bool { return strings.Contains(r.err, text) })
}

func FuzzParseDocker(f *testing.F)       { fuzzParser(f, "docker") }
func FuzzParseQuay(f *testing.F)         { fuzzParser(f, "quay") }
func FuzzParseHarbor(f *testing.F)       { fuzzParser(f, "harbor") }
func FuzzParseGitHub(f *testing.F)       { fuzzParser(f, "github") }
func FuzzParseDistribution(f *testing.F) { fuzzParser(f, "distribution") }
func FuzzParseACR(f *testing.F)          { fuzzParser(f, "acr") }
func FuzzParseECR(f *testing.F)          { fuzzParser(f, "ecr") }
func FuzzParseGAR(f *testing.F)          { fuzzParser(f, "gar") }
func FuzzParseArtifactory(f *testing.F)  { fuzzParser(f, "artifactory") }
func FuzzParseNexus(f *testing.F)        { fuzzParser(f, "nexus") }
func FuzzParseGitea(f *testing.F)        { fuzzParser(f, "gitea") }
func FuzzParseZot(f *testing.F)          { fuzzParser(f, "zot") }
func FuzzParseGeneric(f *testing.F)      { fuzzParser(f, "generic") }
