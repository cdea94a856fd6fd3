package certificates

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/images-io/tagger/internal/certificates"
)

// short is a policy whose certificates are renewed after four seconds, and whose authorities after eight.
var short = certificates.Policy{AuthorityLife: 12 * time.Second, ServingLife: 6 * time.Second, Overlap: time.Second, Settle: 100 * time.Millisecond}

// TestCertificatesAreRenewedByThemselves runs two replicas with a short policy.
func TestCertificatesAreRenewedByThemselves(t *testing.T) {
	t.Parallel()
	installation := certificates.Installation{
		Secret: types.NamespacedName{Namespace: metav1.NamespaceDefault, Name: "short"}, Mutating: "short", Validating: "short",
	}
	for _, object := range unusedWebhooks(installation) {
		if err := world.api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = world.api.Delete(context.WithoutCancel(t.Context()), object) })
	}
	replicas := []*certificates.Served{{}, {}}
	for _, served := range replicas {
		runReplica(t, installation, served)
	}
	leaves, issuers := map[string]bool{}, map[string]bool{}
	eventually(t, "three certificates of two authorities", func() error {
		for _, served := range replicas {
			if certificate, err := served.GetCertificate(nil); err == nil {
				leaves[certificate.Leaf.SerialNumber.String()], issuers[string(certificate.Leaf.AuthorityKeyId)] = true, true
				if !time.Now().Before(certificate.Leaf.NotAfter) {
					return errors.New("what is served has expired")
				}
			}
		}
		if len(leaves) < 3 || len(issuers) < 2 {
			return fmt.Errorf("%d certificates of %d authorities were served", len(leaves), len(issuers))
		}
		return nil
	})
	for _, served := range replicas {
		eventually(t, "readiness", func() error { return served.Ready(clock.RealClock{}) })
	}
}

// unusedWebhooks are configurations that match nothing.
func unusedWebhooks(installation certificates.Installation) []client.Object {
	none := []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{"none.example.com"}, APIVersions: []string{"v1"}, Resources: []string{"nothings"}},
	}}
	to := admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: metav1.NamespaceDefault, Name: "short"}}
	effects := admissionv1.SideEffectClassNone
	return []client.Object{
		&admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: installation.Mutating},
			Webhooks: []admissionv1.MutatingWebhook{{
				Name: "a.short.example.com", ClientConfig: to, Rules: none, SideEffects: &effects, AdmissionReviewVersions: []string{"v1"},
			}},
		},
		&admissionv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: installation.Validating},
			Webhooks: []admissionv1.ValidatingWebhook{{
				Name: "b.short.example.com", ClientConfig: to, Rules: none, SideEffects: &effects, AdmissionReviewVersions: []string{"v1"},
			}},
		},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: installation.Secret.Namespace, Name: installation.Secret.Name}}, // an empty one is filled
	}
}

// runReplica runs a manager that only keeps a certificate, until the test ends.
func runReplica(t *testing.T, installation certificates.Installation, served *certificates.Served) {
	t.Helper()
	mgr, err := ctrl.NewManager(world.cluster.Config, ctrl.Options{
		Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0", Logger: logr.Discard(),
		Controller: ctrlconfig.Controller{SkipNameValidation: new(true)},
	})
	if err == nil {
		err = certificates.Add(mgr, installation, short, served, clock.RealClock{})
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("a replica ended with %v", err)
		}
	})
}
