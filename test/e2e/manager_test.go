package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/images-io/tagger/test/cluster"
)

func (u *user) fetch(url string) string {
	u.t.Helper()
	response, err := http.Get(url)
	return u.body(response, err)
}

// body returns the body of a response, which has to be 200.
func (u *user) body(response *http.Response, err error) string {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		u.t.Fatalf("%s answers %s (%v): %s", response.Request.URL, response.Status, err, body)
	}
	return string(body)
}

// scraper returns a client as Prometheus has: it has a token, and may read the metrics.
func (u *user) scraper() func() string {
	u.t.Helper()
	u.kubectl("create serviceaccount prometheus")
	u.kubectl("create clusterrolebinding " + u.namespace + " --clusterrole=tagger-metrics-reader --serviceaccount=" + u.namespace + ":prometheus")
	token := strings.TrimSpace(u.kubectl("create token prometheus"))
	scrape := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	return func() string {
		u.t.Helper()
		request, err := http.NewRequestWithContext(u.t.Context(), http.MethodGet, "https"+strings.TrimPrefix(world.manager.MetricsURL, "http"), nil)
		if err != nil {
			u.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := scrape.Do(request)
		return u.body(response, err)
	}
}

func TestMetrics(t *testing.T) {
	u := newUser(t)
	scrape := u.scraper()
	u.imported("myapp")
	u.moved("myapp", 1)
	u.with(tagYAML("missing", world.faulty.address+"/missing/app:latest"), "apply -f -")
	u.becomes("tag/missing", `.status.conditions[?(@.type=="Ready")].reason`, "NotFound")
	u.eventually("the metrics of the Tags", func() error {
		text := scrape()
		for _, series := range []string{
			fmt.Sprintf(`tagger_tag_generation{namespace=%q,tag="myapp"} 1`, u.namespace),
			fmt.Sprintf(`tagger_tag_references{namespace=%q,tag="myapp"} 2`, u.namespace),
			fmt.Sprintf(`tagger_tag_references{namespace=%q,tag="missing"} 0`, u.namespace),
			`tagger_import_success_total `,
			`tagger_certificate_expiry_timestamp_seconds `,
			fmt.Sprintf(`tagger_registry_requests_total{code="200",host=%q,method="HEAD"} `, world.registry.Address),
			`tagger_import_failures_total{reason="NotFound"} `,
			`tagger_import_failures_total{reason="RateLimited"} `,
			`tagger_import_duration_seconds_bucket{cached="false",le="0.01"}`,
			`tagger_mirror_bytes_total{kind="copied"} `,
			`tagger_mirror_copies_running `,
		} {
			if !strings.Contains(text, series) {
				return fmt.Errorf("%s is not there", series)
			}
		}
		return nil
	})
	u.kubectl("delete tag/myapp")
	u.eventually("no series of a Tag that is gone", func() error {
		if text := scrape(); strings.Contains(text, fmt.Sprintf(`{namespace=%q,tag="myapp"}`, u.namespace)) {
			return fmt.Errorf("they are still there")
		}
		return nil
	})
}

func TestHealth(t *testing.T) {
	u := newUser(t)
	for _, url := range []string{world.manager.HealthURL, world.manager.ReadyURL} {
		if got := u.fetch(url); got != "ok" {
			t.Errorf("%s answers %q", url, got)
		}
	}
	u.has(u.fetch(world.manager.ReadyURL+"?verbose=true"), "[+]webhook ok", "[+]certificate ok", "[+]tags ok")
}

// TestAManagerWithoutStreamedLists starts a second replica with the requests that an API server before 1.34 needs.
func TestAManagerWithoutStreamedLists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	webhook, err := cluster.ReserveWebhook()
	if err != nil {
		t.Fatal(err)
	}
	replica, err := cluster.StartManager(t.Context(), cluster.ManagerOptions{
		Dir: dir, Cluster: world.cluster, Webhook: webhook, Args: []string{"--leader-elect=true"},
		Env: []string{"KUBE_FEATURE_WatchListClient=false"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.Stop(); err != nil {
		t.Error(err)
	}
}

// TestBrokenCertificateIsRestored runs beside the other tests: none of their admission requests fails.
func TestBrokenCertificateIsRestored(t *testing.T) {
	newUser(t)
	installation := &user{t: t, namespace: cluster.Namespace}
	secret := "secret/" + cluster.CertificateSecret
	installation.kubectl("patch " + secret + ` --type=merge --patch={"stringData":{"tls.crt":"broken"}}`)
	installation.eventually("a sound certificate", func() error {
		content, err := base64.StdEncoding.DecodeString(installation.get(secret, `.data.tls\.crt`))
		if block, _ := pem.Decode(content); block == nil {
			return fmt.Errorf("it is %q: %w", content, err)
		}
		return nil
	})
}

// theLogIsSound checks the manager's log of all tests: it is JSON with levels, no request was forbidden, since the shipped role
// is sufficient, and it has no secret.
func theLogIsSound() error {
	var problems []error
	lines := world.logs.lines()
	if len(lines) < 100 {
		problems = append(problems, fmt.Errorf("the log has %d lines only", len(lines)))
	}
	for _, line := range lines {
		var entry struct{ Time, Level, Message string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time == "" || entry.Level == "" || entry.Message == "" {
			problems = append(problems, fmt.Errorf("not a JSON object with time, level and message (%w): %s", err, line))
		}
		for _, never := range []string{" is forbidden: User ", planted, privatePassword} {
			if strings.Contains(line, never) {
				problems = append(problems, fmt.Errorf("%q is in the log: %s", never, line))
			}
		}
	}
	return errors.Join(problems...)
}

func TestEditsOfRegistriesConfCount(t *testing.T) {
	u := newUser(t)
	image := u.push("build 0")
	alias := "registry.test/" + u.namespace + "/myapp:latest"
	u.with(tagYAML("myapp", alias), "apply -f -")
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "Unavailable")
	conf, err := os.ReadFile(world.registriesConf)
	if err != nil {
		t.Fatal(err)
	}
	extra := fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", "registry.test", world.registry.Address)
	if err := os.WriteFile(world.registriesConf, append(conf, extra...), 0o600); err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(image, "@")
	u.becomes("tag/myapp", ".status.references[0].imageReference", "registry.test/"+u.namespace+"/myapp@"+digest)
}
