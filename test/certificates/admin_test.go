package certificates

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/internal/certificates"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// patience is three times the promise: ten seconds from a change of the Secret until it is served.
const patience = 30 * time.Second

func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	harness.Eventually(t, what, patience, func(context.Context) error { return condition() })
}

var secretKey = client.ObjectKey{Namespace: cluster.Namespace, Name: cluster.CertificateSecret}

func secret(ctx context.Context) (*corev1.Secret, error) {
	var secret corev1.Secret
	return &secret, world.api.Get(ctx, secretKey, &secret)
}

// material returns the content of the Secret.
func material(t *testing.T) certificates.Material {
	t.Helper()
	secret, err := secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return certificates.Parse(secret.Data, time.Now())
}

// edit changes the Secret as an administrator would, also while the replicas write.
func edit(t *testing.T, change func(data map[string][]byte)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		secret, err := secret(t.Context())
		if err != nil {
			return err
		}
		change(secret.Data)
		return world.api.Update(t.Context(), secret)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// editMaterial is edit for a Secret with valid content.
func editMaterial(t *testing.T, change func(m *certificates.Material)) {
	t.Helper()
	edit(t, func(data map[string][]byte) {
		m := certificates.Parse(data, time.Now())
		change(&m)
		changed, err := m.Data()
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range changed {
			data[key] = value
		}
	})
}

// ageAuthority makes the first authority older. Key and name stay, so its signatures stay valid.
func ageAuthority(t *testing.T, by time.Duration) {
	t.Helper()
	editMaterial(t, func(m *certificates.Material) {
		m.Authorities[0] = reissue(t, m.Authorities[0], nil, m.Authorities[0].PublicKey, m.Signer, by)
	})
}

// ageServing makes the serving certificate older.
func ageServing(t *testing.T, by time.Duration) {
	t.Helper()
	editMaterial(t, func(m *certificates.Material) {
		leaf := reissue(t, m.Serving.Leaf, m.Authorities[0], m.Serving.Leaf.PublicKey, m.Signer, by)
		m.Serving = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: m.Serving.PrivateKey, Leaf: leaf}
	})
}

// reissue signs a certificate again with an earlier date; by itself without an authority.
func reissue(t *testing.T, certificate, authority *x509.Certificate, public crypto.PublicKey, signer crypto.Signer, earlier time.Duration) *x509.Certificate {
	t.Helper()
	template := *certificate
	template.SerialNumber = nil
	template.NotBefore, template.NotAfter = template.NotBefore.Add(-earlier), template.NotAfter.Add(-earlier)
	if authority == nil {
		authority = &template
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, authority, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	reissued, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return reissued
}

// bundles returns the caBundles of all webhooks.
func bundles(ctx context.Context) ([][]byte, error) {
	var mutating admissionv1.MutatingWebhookConfiguration
	var validating admissionv1.ValidatingWebhookConfiguration
	if err := errors.Join(
		world.api.Get(ctx, client.ObjectKey{Name: cluster.MutatingConfiguration}, &mutating),
		world.api.Get(ctx, client.ObjectKey{Name: cluster.ValidatingConfiguration}, &validating),
	); err != nil {
		return nil, err
	}
	var bundles [][]byte
	for _, webhook := range mutating.Webhooks {
		bundles = append(bundles, webhook.ClientConfig.CABundle)
	}
	for _, webhook := range validating.Webhooks {
		bundles = append(bundles, webhook.ClientConfig.CABundle)
	}
	return bundles, nil
}

// served returns the certificate that a replica serves now, trusted or not.
func (r *replica) served() (*x509.Certificate, error) {
	connection, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	return connection.ConnectionState().PeerCertificates[0], nil
}

// inStep waits until Secret, caBundles and both replicas are consistent and valid.
func inStep(t *testing.T) {
	t.Helper()
	eventually(t, "Secret, caBundles and replicas to agree", func() error { return agree(t.Context()) })
}

func agree(ctx context.Context) error {
	secret, err := secret(ctx)
	if err != nil {
		return err
	}
	m := certificates.Parse(secret.Data, time.Now())
	if decision := certificates.Default.Decide(m, []string{"127.0.0.1"}, time.Now()); decision.Step != certificates.Keep {
		return fmt.Errorf("the Secret needs %s: %s", decision.Step, decision.Reason)
	}
	bundles, err := bundles(ctx)
	if err != nil {
		return err
	}
	for _, bundle := range bundles {
		if !bytes.Equal(bundle, secret.Data[certificates.AuthoritiesKey]) {
			return errors.New("a caBundle is not what the Secret holds")
		}
	}
	for i, replica := range world.replicas {
		if served, err := replica.served(); err != nil || !served.Equal(m.Serving.Leaf) {
			return fmt.Errorf("replica %d serves another certificate (%w)", i, err)
		}
	}
	return nil
}

// fetch returns the status and the body of a GET.
func fetch(ctx context.Context, url string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}
