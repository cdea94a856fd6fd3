package cluster_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"

	"github.com/images-io/tagger/test/cluster"
)

func TestOutage_KeepsUsersAndData(t *testing.T) {
	c := start(t, cluster.Options{})
	config, err := c.UserConfig("alice", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	alice, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	names := alice.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	for _, name := range []string{"first", "second"} { // it can stop more than once
		if _, err := names.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := c.StopAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := names.Get(t.Context(), name, metav1.GetOptions{}); !utilnet.IsConnectionRefused(err) {
			t.Errorf("while it is gone: %v, want that the connection is refused", err)
		}
		if err := c.StartAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := names.Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Errorf("after it is back: %v", err)
		}
	}
}
