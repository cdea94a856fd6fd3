package certificates

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/internal/certificates"
	"github.com/images-io/tagger/test/cluster"
)

// TestReplicasThatStartTogetherAgree relies on TestMain, which started two at once without a Secret.
func TestReplicasThatStartTogetherAgree(t *testing.T) {
	inStep(t)
	imported(t)
	made := 0
	for _, replica := range world.replicas {
		log, err := os.ReadFile(replica.Log)
		if err != nil {
			t.Fatal(err)
		}
		made += bytes.Count(log, []byte(`"step":"AddAuthority"`))
		for _, never := range []string{" is forbidden: ", "PRIVATE KEY"} {
			if bytes.Contains(log, []byte(never)) {
				t.Errorf("%q is in the log %s", never, replica.Log)
			}
		}
	}
	if made != 1 {
		t.Errorf("%d authorities were made, want one", made)
	}
	if secret, err := secret(t.Context()); err != nil || secret.Type != corev1.SecretTypeTLS {
		t.Errorf("the Secret is of the type %s (%v)", secret.Type, err)
	}
}

func TestCertificateExpiryMetric(t *testing.T) {
	inStep(t)
	want := fmt.Sprintf("tagger_certificate_expiry_timestamp_seconds %g\n", float64(material(t).Serving.Leaf.NotAfter.Unix()))
	for _, replica := range world.replicas { // the one that does not lead, too
		if _, body, err := fetch(t.Context(), replica.MetricsURL); err != nil || !strings.Contains(body, want) {
			t.Errorf("%q is not among the metrics of %s (%v)", want, replica.MetricsURL, err)
		}
	}
}

func TestBrokenObjectsAreRestored(t *testing.T) {
	t.Parallel()
	want := imported(t)
	other := foreign(t)
	for _, row := range []struct {
		name string
		deed func(t *testing.T)
	}{
		{"the Secret is deleted", func(t *testing.T) { deleteSecret(t) }},
		{"it is emptied", func(t *testing.T) { edit(t, func(data map[string][]byte) { wipe(data, "") }) }},
		{"it is garbage", func(t *testing.T) { edit(t, func(data map[string][]byte) { wipe(data, "garbage") }) }},
		{"the certificate's key is another's", func(t *testing.T) {
			edit(t, func(data map[string][]byte) { data[corev1.TLSPrivateKeyKey] = other[corev1.TLSPrivateKeyKey] })
		}},
		{"the certificate is another authority's", func(t *testing.T) {
			edit(t, func(data map[string][]byte) {
				data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey] = other[corev1.TLSCertKey], other[corev1.TLSPrivateKeyKey]
			})
		}},
		{"the authority is another", func(t *testing.T) {
			edit(t, func(data map[string][]byte) { data[certificates.AuthoritiesKey] = other[certificates.AuthoritiesKey] })
		}},
		{"the authority's key is gone", func(t *testing.T) {
			edit(t, func(data map[string][]byte) { delete(data, certificates.SigningKeyKey) })
		}},
		{"the certificate has expired", func(t *testing.T) { ageServing(t, 2*certificates.Default.ServingLife) }},
		{"the certificate is for another host", func(t *testing.T) {
			editMaterial(t, func(m *certificates.Material) {
				leaf := *m.Serving.Leaf
				leaf.IPAddresses, leaf.DNSNames = nil, []string{"elsewhere"}
				signed := reissue(t, &leaf, m.Authorities[0], leaf.PublicKey, m.Signer, 0)
				m.Serving = &tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: m.Serving.PrivateKey, Leaf: signed}
			})
		}},
		{"a caBundle is emptied", func(t *testing.T) { writeBundles(t, nil) }},
		{"a caBundle is another's", func(t *testing.T) { writeBundles(t, other[certificates.AuthoritiesKey]) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			inStep(t)
			row.deed(t)
			inStep(t)
			eventually(t, "an admission", func() error { return admitted(t.Context(), "probe", want, client.DryRunAll) })
		})
	}
}

// foreign is the data of another installation.
func foreign(t *testing.T) map[string][]byte {
	t.Helper()
	m, _, err := certificates.Default.Advance(certificates.Material{}, []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func deleteSecret(t *testing.T) {
	t.Helper()
	secret, err := secret(t.Context())
	if err == nil {
		err = world.api.Delete(t.Context(), secret)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wipe(data map[string][]byte, content string) {
	for key := range data {
		data[key] = []byte(content)
	}
}

// writeBundles writes into the caBundle of every mutating webhook.
func writeBundles(t *testing.T, bundle []byte) {
	t.Helper()
	var configuration admissionv1.MutatingWebhookConfiguration
	if err := world.api.Get(t.Context(), client.ObjectKey{Name: cluster.MutatingConfiguration}, &configuration); err != nil {
		t.Fatal(err)
	}
	before := configuration.DeepCopy()
	for i := range configuration.Webhooks {
		configuration.Webhooks[i].ClientConfig.CABundle = bundle
	}
	if err := world.api.Patch(t.Context(), &configuration, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func TestReplica_WithoutConfigurations(t *testing.T) {
	inStep(t)
	ready := func(want int, says string) {
		t.Helper()
		eventually(t, fmt.Sprintf("readiness to answer %d", want), func() error {
			var problems []error
			for _, replica := range world.replicas {
				if code, body, err := fetch(t.Context(), replica.ReadyURL+"?verbose=true"); code != want || !strings.Contains(body, says) {
					problems = append(problems, fmt.Errorf("%d %s (%w)", code, body, err))
				}
			}
			return errors.Join(problems...)
		})
	}
	ready(http.StatusOK, "[+]certificate ok")
	validating := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: cluster.ValidatingConfiguration}}
	if err := world.api.Delete(t.Context(), validating); err != nil {
		t.Fatal(err)
	}
	ready(http.StatusInternalServerError, "[-]certificate failed")
	if err := cluster.Install(t.Context(), world.cluster, cluster.WebhookEndpoint{URL: world.front.url()}); err != nil {
		t.Fatal(err)
	}
	ready(http.StatusOK, "[+]certificate ok")
	inStep(t)
}
