package cluster_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/images-io/tagger/test/cluster"
)

func TestCluster_RolloutAndStop(t *testing.T) {
	dir := t.TempDir()
	c := start(t, cluster.Options{Dir: dir, WithWorkloads: true})

	pids, err := cluster.Recorded(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(pids) != 5 {
		t.Errorf("%d processes are recorded, want etcd, three of Kubernetes and kwok", len(pids))
	}
	rollOut(t, client(t, c))

	if err := c.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d outlives Stop", pid)
		}
	}
}

// rollOut creates a Deployment and waits until its pods are ready.
func rollOut(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	deployments := client.AppsV1().Deployments(metav1.NamespaceDefault)
	if _, err := deployments.Create(t.Context(), deployment(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		d, err := deployments.Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return d.Status.AvailableReplicas == 2, nil
	})
	if err != nil {
		t.Fatalf("the Deployment does not become available: %v", err)
	}
}

func TestUser_HasGrantedRightsOnly(t *testing.T) {
	c := start(t, cluster.Options{})
	config, err := c.ServiceAccountConfig("team", "robot")
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/kubeconfig"
	if err := cluster.WriteKubeconfig(path, config); err != nil {
		t.Fatal(err)
	}
	read, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	robot, err := kubernetes.NewForConfig(read)
	if err != nil {
		t.Fatal(err)
	}
	_, err = robot.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	want := `namespaces is forbidden: User "system:serviceaccount:team:robot" cannot list resource "namespaces" in API group "" at the cluster scope`
	if err == nil || err.Error() != want {
		t.Errorf("listing namespaces: %v, want %s", err, want)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	bin := t.TempDir()
	_, err := cluster.Start(t.Context(), cluster.Options{Bin: bin})
	want := "programs are missing, run `make tools build`:\n" +
		"etcd is not in " + bin + "\nkube-apiserver is not in " + bin + "\nkubectl is not in " + bin
	if err == nil || err.Error() != want {
		t.Errorf("Start: %v, want %s", err, want)
	}
}

func TestCancelledStartLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := cluster.Start(ctx, cluster.Options{Dir: dir, Progress: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Start: %v, want the context's error", err)
	}
	if pids, err := cluster.Recorded(dir); err != nil || len(pids) > 0 {
		t.Errorf("processes %v are still recorded (%v)", pids, err)
	}
}

func start(t *testing.T, options cluster.Options) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("stop the control plane: %v", err)
		}
	})
	return c
}

func client(t *testing.T, c *cluster.Cluster) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func deployment() *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example/web:1"}}},
			},
		},
	}
}
