package cluster_test

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/images-io/tagger/test/cluster"
)

// The folder testdata/install has one object of each kind that Install changes.
func TestInstallLeadsWebhooksToTheEndpoint(t *testing.T) {
	c := start(t, cluster.Options{})
	endpoint := cluster.WebhookEndpoint{URL: "https://127.0.0.1:4430", CABundle: serving(t).CA}
	for range 2 { // a second time it changes nothing and returns no error
		if err := cluster.InstallFrom(t.Context(), c, "testdata/install", endpoint); err != nil {
			t.Fatal(err)
		}
	}
	client := client(t, c)

	webhooks := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	got, err := webhooks.Get(t.Context(), "sample", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := got.Webhooks[0].ClientConfig
	if config.Service != nil || *config.URL != "https://127.0.0.1:4430/mutate" || string(config.CABundle) != string(endpoint.CABundle) {
		t.Errorf("the webhook is at %v %v", config.Service, *config.URL)
	}
	if _, err := client.CoreV1().ServiceAccounts("sample").Get(t.Context(), "sample", metav1.GetOptions{}); err != nil {
		t.Errorf("the service account: %v", err)
	}
	if _, err := client.AppsV1().Deployments("sample").Get(t.Context(), "sample", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Deployment of the manager: %v, want not found", err)
	}
	resources, err := client.Discovery().ServerResourcesForGroupVersion("example.com/v1")
	if err != nil || len(resources.APIResources) == 0 {
		t.Errorf("the custom resource is not served: %v", err)
	}
}

func serving(t *testing.T) *cluster.ServingCert {
	t.Helper()
	cert, err := cluster.NewServingCert(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
