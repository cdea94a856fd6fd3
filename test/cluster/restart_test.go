package cluster_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/images-io/tagger/test/cluster"
)

func TestARestartedAPIServerHasWhatWasThere(t *testing.T) {
	c := start(t, cluster.Options{})
	deployments := client(t, c).AppsV1().Deployments(metav1.NamespaceDefault)
	if _, err := deployments.Create(t.Context(), deployment(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.RestartAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := deployments.Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
}
