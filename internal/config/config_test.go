package config_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/images-io/tagger/internal/config"
)

// complete parses flags and an environment, as the manager does at start.
func complete(args []string, environment map[string]string) (config.Config, error) {
	var cfg config.Config
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	cfg.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	return cfg, cfg.Complete(func(key string) (string, bool) {
		value, ok := environment[key]
		return value, ok
	})
}

func TestDefaults(t *testing.T) {
	cfg, err := complete(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Backstop != config.BackstopInstalled || !cfg.LeaderElect || !cfg.MetricsSecure || cfg.WebhookPort != 9443 || cfg.Cache.Address != "" {
		t.Errorf("got %+v", cfg)
	}
	if m := cfg.Mirror; m.ConcurrentCopies != 4 || m.BlobsPerCopy != 4 || m.MaxImageSize.Value() != 20<<30 || m.Attachments != config.AttachmentsBestEffort || m.VerifyInterval != time.Hour {
		t.Errorf("got %+v", m)
	}
}

func TestTheSeedsVariables(t *testing.T) {
	for name, row := range map[string]struct {
		environment map[string]string
		want        config.CacheRegistry
	}{
		"host and port":               {map[string]string{"CACHE_REGISTRY_ADDRESS": "registry:5000"}, config.CacheRegistry{Address: "registry:5000"}},
		"a prefix":                    {map[string]string{"CACHE_REGISTRY_ADDRESS": "registry:5000/mirror/"}, config.CacheRegistry{Address: "registry:5000/mirror"}},
		"a scheme":                    {map[string]string{"CACHE_REGISTRY_ADDRESS": "https://registry.test"}, config.CacheRegistry{Address: "registry.test"}},
		"insecure, true means true":   {map[string]string{"CACHE_REGISTRY_INSECURE": "true"}, config.CacheRegistry{Insecure: true}},
		"insecure, false means false": {map[string]string{"CACHE_REGISTRY_INSECURE": "false"}, config.CacheRegistry{}},
		"a user and a password":       {map[string]string{"CACHE_REGISTRY_ADDRESS": "registry:5000", "CACHE_REGISTRY_USERNAME": "u", "CACHE_REGISTRY_PASSWORD": "p"}, config.CacheRegistry{Address: "registry:5000", Username: "u", Password: "p"}},
		"keys without values":         {map[string]string{"CACHE_REGISTRY_ADDRESS": "", "CACHE_REGISTRY_USERNAME": "", "CACHE_REGISTRY_PASSWORD": "", "CACHE_REGISTRY_INSECURE": ""}, config.CacheRegistry{}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := complete(nil, row.environment)
			if err != nil || cfg.Cache != row.want {
				t.Errorf("got %+v, %v; want %+v", cfg.Cache, err, row.want)
			}
		})
	}
}

func TestComplete_NamesEveryProblem(t *testing.T) {
	_, err := complete(
		[]string{"--webhook-port=70000", "--log-level=loud", "--metrics-bind-address=8443", "--health-probe-bind-address=:x", "--registry-ca-file=/does/not/exist", "--webhook-cert-dir=", "--backstop=managed",
			"--mirror-concurrent-copies=0", "--mirror-blobs-per-copy=65", "--mirror-max-image-size=0", "--mirror-verify-interval=1ms"},
		map[string]string{"CACHE_REGISTRY_INSECURE": "maybe", "CACHE_REGISTRY_USERNAME": "u", "CACHE_REGISTRY_ADDRESS": "u:hunter2@registry"},
	)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`--webhook-port is 70000`, `--log-level is "loud"; write one of debug, info, error`, `--metrics-bind-address is "8443"; write host:port`,
		`--health-probe-bind-address is ":x"`, `/does/not/exist`, `--webhook-cert-dir is empty`, `--backstop=managed needs --leader-election-namespace`, `CACHE_REGISTRY_INSECURE is "maybe"; write true or false`,
		`CACHE_REGISTRY_USERNAME and CACHE_REGISTRY_PASSWORD go together`, `CACHE_REGISTRY_ADDRESS: it is not host[:port][/prefix]`,
		`--mirror-concurrent-copies is 0; write a number from 1 to 64`, `--mirror-blobs-per-copy is 65`, `--mirror-max-image-size is 0`, `--mirror-verify-interval is 1ms; write at least 1s`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password is in the error: %v", err)
	}
}

func TestComplete_MirrorHostNeedsDotOrPort(t *testing.T) {
	_, err := complete(nil, map[string]string{"CACHE_REGISTRY_ADDRESS": "registry"})
	if err == nil || !strings.Contains(err.Error(), "CACHE_REGISTRY_ADDRESS: the host has neither a dot nor a port") {
		t.Errorf("got %v", err)
	}
}

// TestComplete_CredentialsWithoutAddress: the internal registry of the ConfigMap has no credentials.
func TestComplete_CredentialsWithoutAddress(t *testing.T) {
	const want = "CACHE_REGISTRY_USERNAME and CACHE_REGISTRY_PASSWORD need CACHE_REGISTRY_ADDRESS; set all three, or none of them"
	for name, environment := range map[string]map[string]string{
		"no address":       {"CACHE_REGISTRY_USERNAME": "u", "CACHE_REGISTRY_PASSWORD": "hunter2"},
		"an empty address": {"CACHE_REGISTRY_ADDRESS": "", "CACHE_REGISTRY_USERNAME": "u", "CACHE_REGISTRY_PASSWORD": "hunter2"},
		"a password alone": {"CACHE_REGISTRY_PASSWORD": "hunter2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := complete(nil, environment)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTheManagersOwnCertificate(t *testing.T) {
	const secret, mutating, validating = "--webhook-cert-secret=system/cert", "--mutating-webhook-configuration-name=m", "--validating-webhook-configuration-name=v"
	for name, row := range map[string]struct {
		args []string
		says string
	}{
		"nothing: the files count":        {nil, ""},
		"all three":                       {[]string{secret, mutating, validating}, ""},
		"no webhook configurations":       {[]string{secret}, "go together"},
		"no Secret":                       {[]string{mutating, validating}, "go together"},
		"a Secret without its namespace":  {[]string{"--webhook-cert-secret=cert", mutating, validating}, `--webhook-cert-secret is "cert"; write namespace/name`},
		"a namespace that was not filled": {[]string{"--webhook-cert-secret=/cert", mutating, validating}, "write namespace/name"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := complete(row.args, nil)
			if (err != nil) != (row.says != "") || err != nil && !strings.Contains(err.Error(), row.says) {
				t.Fatalf("got %v, want %q", err, row.says)
			}
			if own := cfg.WebhookCertSecret.Name != ""; err == nil && own != (len(row.args) == 3) {
				t.Errorf("the manager makes its certificate itself: %v (%v)", own, cfg.WebhookCertSecret)
			}
		})
	}
}

func TestProxiesOfTheEnvironment(t *testing.T) {
	cfg, err := complete(nil, map[string]string{"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "inside.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	proxy := cfg.Proxy.ProxyFunc()
	for host, want := range map[string]string{"quay.io": "http://proxy:3128", "inside.example.com": ""} {
		got, err := proxy(&url.URL{Scheme: "https", Host: host})
		if err != nil || (got == nil) != (want == "") || got != nil && got.String() != want {
			t.Errorf("%s: got %v, %v; want %q", host, got, err, want)
		}
	}
}

func TestComplete_KubeconfigOfEnvironment(t *testing.T) {
	environment := map[string]string{"KUBECONFIG": "/from/environment"}
	if cfg, err := complete(nil, environment); err != nil || cfg.Kubeconfig != "/from/environment" {
		t.Errorf("got %q, %v", cfg.Kubeconfig, err)
	}
	if cfg, err := complete([]string{"--kubeconfig=/from/flag"}, environment); err != nil || cfg.Kubeconfig != "/from/flag" {
		t.Errorf("got %q, %v", cfg.Kubeconfig, err)
	}
}

func TestComplete_BackstopOfEnvironment(t *testing.T) {
	environment := map[string]string{"BACKSTOP": "off"}
	if cfg, err := complete(nil, environment); err != nil || cfg.Backstop != config.BackstopOff {
		t.Errorf("got %q, %v", cfg.Backstop, err)
	}
	if cfg, err := complete([]string{"--backstop=installed"}, environment); err != nil || cfg.Backstop != config.BackstopInstalled {
		t.Errorf("got %q, %v", cfg.Backstop, err)
	}
	if _, err := complete(nil, map[string]string{"BACKSTOP": "false"}); err == nil || !strings.Contains(err.Error(), `--backstop is "false"; write one of installed, managed, off`) {
		t.Errorf("got %v", err)
	}
}

func TestComplete_LeaseDurations(t *testing.T) {
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"what Kubernetes' own components default to": {nil, ""},
		"a short lease": {[]string{"--leader-elect-lease-duration=2s", "--leader-elect-renew-deadline=1500ms", "--leader-elect-retry-period=250ms"}, ""},
		"a lease that ends before its leader gives up":      {[]string{"--leader-elect-lease-duration=10s"}, "--leader-elect-lease-duration is 10s; write more than --leader-elect-renew-deadline, which is 10s"},
		"a leader that would give up after a single try":    {[]string{"--leader-elect-retry-period=9s"}, "--leader-elect-renew-deadline is 10s; write more than 1.2 times --leader-elect-retry-period, which is 9s"},
		"no pause between two tries":                        {[]string{"--leader-elect-retry-period=0s"}, "--leader-elect-retry-period is 0s; write more than 0s"},
		"a lease that the API server would count otherwise": {[]string{"--leader-elect-lease-duration=10500ms"}, "--leader-elect-lease-duration is 10.5s; write whole seconds"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := complete(row.args, nil)
			if (err == nil) != (row.want == "") || err != nil && err.Error() != row.want {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}

func TestComplete_Push(t *testing.T) {
	cfg, err := complete([]string{"--push-bind-address=:9083", "--push-secret=tagger-system/tagger-push"}, nil)
	if p := cfg.Push; err != nil || p.QuayAddress != "0" || p.Address != ":9083" || p.Secret.String() != "tagger-system/tagger-push" || !p.IsOn() || p.CertDir != "" {
		t.Errorf("got %+v, %v", cfg.Push, err)
	}
	if cfg, err := complete(nil, nil); err != nil || cfg.Push.IsOn() {
		t.Errorf("by default: got %+v, %v", cfg.Push, err)
	}
	if _, err := complete([]string{"--push-bind-address=:9083", "--push-authentication=none"}, nil); err != nil {
		t.Errorf("without authentication: %v", err)
	}
	for want, args := range map[string][]string{
		"need --push-secret":                  {"--push-bind-address=:9083"},
		"--push-secret is \"tagger-push\"":    {"--push-secret=tagger-push"},
		"--push-secret is \"a/b/c\"":          {"--push-secret=a/b/c"},
		"--push-authentication is \"tokens\"": {"--push-authentication=tokens"},
		"--push-quay-bind-address is":         {"--push-quay-bind-address=9081", "--push-authentication=none"},
		"--push-docker-bind-address is":       {"--push-docker-bind-address=x:y", "--push-authentication=none"},
	} {
		if _, err := complete(args, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %s", args, err, want)
		}
	}
}
