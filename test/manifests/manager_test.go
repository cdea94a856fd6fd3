package manifests

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/images-io/tagger/test/cluster"
)

// TestTheManagerAsItIsShipped starts bin/manager with some flags of config/manager: leader election, and metrics for authorized
// users. Its certificate is in files, as under OLM.
func TestTheManagerAsItIsShipped(t *testing.T) {
	withoutWebhooks(t)
	dir := t.TempDir()
	webhook, err := cluster.NewWebhook(filepath.Join(dir, "certs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Install(t.Context(), control, webhook.Endpoint); err != nil {
		t.Fatal(err)
	}
	manager, err := cluster.StartManager(t.Context(), cluster.ManagerOptions{
		Dir: dir, Cluster: control, Webhook: webhook, Args: []string{"--leader-elect=true", "--metrics-secure=true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer withoutWebhooks(t)

	t.Run("one replica holds the lease", func(t *testing.T) {
		eventually(t, "a holder of the lease", func() error {
			if holder, err := kubectl(t, "", "get lease tagger.images.io --namespace tagger-system -o jsonpath={.spec.holderIdentity}"); err != nil || holder == "" {
				return fmt.Errorf("it is %q: %w", holder, err)
			}
			return nil
		})
	})
	t.Run("metrics are for those who may get them", func(t *testing.T) { metricsAreProtected(t, manager) })
	t.Run("a certificate that changes is served", func(t *testing.T) { certificateIsReloaded(t, webhook) })
	t.Run("it stops, and gives the lease back", func(t *testing.T) {
		if err := manager.Stop(); err != nil {
			t.Errorf("it ended with %v", err)
		}
		if holder := must(t, "", "get lease tagger.images.io --namespace tagger-system -o jsonpath={.spec.holderIdentity}"); holder != "" {
			t.Errorf("the lease is held by %s", holder)
		}
	})
}

func metricsAreProtected(t *testing.T, manager *cluster.Manager) {
	t.Helper()
	must(t, "", "create serviceaccount prometheus --namespace tagger-system")
	must(t, "", "create serviceaccount stranger --namespace tagger-system")
	must(t, "", "create clusterrolebinding prometheus --clusterrole=tagger-metrics-reader --serviceaccount=tagger-system:prometheus")
	url := strings.Replace(manager.MetricsURL, "http://", "https://", 1)
	ask := func(token string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
		}
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	stranger := must(t, "", "create token stranger --namespace tagger-system")
	prometheus := must(t, "", "create token prometheus --namespace tagger-system")
	if code, _ := ask(""); code != http.StatusUnauthorized {
		t.Errorf("without a token: %d, want 401", code)
	}
	if code, _ := ask(stranger); code != http.StatusForbidden {
		t.Errorf("with a token that may not: %d, want 403", code)
	}
	code, body := ask(prometheus)
	if code != http.StatusOK || !strings.Contains(body, "tagger_import_success_total 0") {
		t.Errorf("with a token that may: %d, want 200 and the metrics", code)
	}
	if !strings.Contains(body, "\ntagger_certificate_expiry_timestamp_seconds ") {
		t.Error("the metrics do not have the expiry of a certificate of another component")
	}
}

func certificateIsReloaded(t *testing.T, webhook *cluster.Webhook) {
	t.Helper()
	before := servedSerial(t, webhook)
	if _, err := cluster.NewServingCert(webhook.CertDir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate", func() error {
		if now := servedSerial(t, webhook); now == before {
			return fmt.Errorf("it is still %s", now)
		}
		return nil
	})
}

func servedSerial(t *testing.T, webhook *cluster.Webhook) string {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	connection, err := dialer.DialContext(context.WithoutCancel(t.Context()), "tcp", net.JoinHostPort(webhook.Host, strconv.Itoa(webhook.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}
