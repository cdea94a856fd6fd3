package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	nodeName = "node"

	// kwokNode is the annotation of the nodes that kwok simulates.
	kwokNode = "kwok.x-k8s.io/node"
)

// startWorkloads starts the programs that make Ready pods of a Deployment. Neither serves anything, so they need no ports.
func (c *Cluster) startWorkloads(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	starts := []func() (command, error){c.controllerManager, c.scheduler, c.kwok}
	for _, start := range starts {
		cmd, err := start()
		if err != nil {
			return err
		}
		p, err := c.leash.start(cmd)
		if err != nil {
			return err
		}
		c.processes = append(c.processes, p)
	}
	if _, err := client.CoreV1().Nodes().Create(ctx, node(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the node: %w", err)
	}
	return await(ctx, "the node and the default service account", c.Exited, func(ctx context.Context) error {
		return errors.Join(nodeReady(ctx, client), defaultAccount(ctx, client))
	})
}

func (c *Cluster) controllerManager() (command, error) {
	ca := c.path("pki", "ca.crt") // the content of kube-root-ca.crt in each namespace
	if err := os.WriteFile(ca, c.Config.CAData, 0o644); err != nil {
		return command{}, fmt.Errorf("write the API server's certificate authority: %w", err)
	}
	return c.component("kube-controller-manager", "system:kube-controller-manager",
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=200", "--kube-api-burst=400",
		"--use-service-account-credentials",
		"--service-account-private-key-file="+c.path("pki", "sa-signer.key"),
		"--root-ca-file="+ca)
}

func (c *Cluster) scheduler() (command, error) {
	return c.component("kube-scheduler", "system:kube-scheduler",
		"--leader-elect=false", "--secure-port=0", "--kube-api-qps=200", "--kube-api-burst=400")
}

func (c *Cluster) kwok() (command, error) {
	stages, err := c.kwokStages()
	if err != nil {
		return command{}, err
	}
	return c.component("kwok", "kwok",
		"--config="+stages,
		"--manage-nodes-with-annotation-selector="+kwokNode+"=fake",
		"--node-lease-duration-seconds=40")
}

// component describes a program of the control plane that works as the given user.
func (c *Cluster) component(name, user string, args ...string) (command, error) {
	kubeconfig := c.path(name + ".kubeconfig")
	var groups []string
	if user == "kwok" {
		groups = append(groups, "system:masters") // no role has the rights that it needs
	}
	config, err := c.UserConfig(user, groups...)
	if err != nil {
		return command{}, err
	}
	if err := WriteKubeconfig(kubeconfig, config); err != nil {
		return command{}, err
	}
	return command{
		binary: c.program(name),
		args:   append([]string{"--kubeconfig=" + kubeconfig}, args...),
		env:    bareEnvironment(c.options.Dir),
		log:    c.log(name),
	}, nil
}

func node() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:        nodeName,
		Annotations: map[string]string{kwokNode: "fake"},
		Labels:      map[string]string{corev1.LabelHostname: nodeName, corev1.LabelOSStable: "linux"},
	}}
}

// nodeReady returns an error while the scheduler does not place pods on the node.
func nodeReady(ctx context.Context, client kubernetes.Interface) error {
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get the node: %w", err)
	}
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("the node has the taint %s", node.Spec.Taints[0].Key)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return errors.New("the node is not Ready")
}

// defaultAccount returns an error while pods cannot be created in the default namespace.
func defaultAccount(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get the default service account: %w", err)
	}
	return nil
}
