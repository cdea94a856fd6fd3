package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// WebhookEndpoint is the address of the webhooks of a manager outside the cluster.
type WebhookEndpoint struct {
	// URL is https://host:port; a webhook's own path is appended.
	URL string

	// CABundle is the authority that the API server has to trust, PEM. Empty means that the manager writes it.
	CABundle []byte
}

// outside names the kinds of objects about the manager's pods. A manager that runs as a process has none.
var outside = []string{"Deployment", "PodDisruptionBudget", "NetworkPolicy"}

// render returns the objects that `kubectl apply -k folder` would create.
func render(ctx context.Context, kubectl, folder string) ([]*unstructured.Unstructured, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, kubectl, "kustomize", folder)
	cmd.Stderr = &stderr
	manifests, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kubectl kustomize %s: %w: %s", folder, err, stderr.Bytes())
	}
	return decode(manifests)
}

// decode reads a stream of YAML documents.
func decode(manifests []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// forProcess returns the objects for a manager that runs as a process, in the order of their creation.
func forProcess(objects []*unstructured.Unstructured, endpoint WebhookEndpoint) ([]*unstructured.Unstructured, error) {
	objects = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
		return slices.Contains(outside, o.GetKind())
	})
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	for _, object := range objects {
		if err := endpoint.redirect(object); err != nil {
			return nil, fmt.Errorf("redirect %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return objects, nil
}

// rank orders objects: those that others need come first, and those that can reject others come last.
func rank(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case "Namespace":
		return 0
	case "CustomResourceDefinition":
		return 1
	case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
		return 3
	}
	return 2
}

// redirect points each webhook of a configuration to the endpoint, and keeps the path. Other objects stay as they are.
func (e WebhookEndpoint) redirect(object *unstructured.Unstructured) error {
	if rank(object) != 3 {
		return nil
	}
	webhooks, _, err := unstructured.NestedSlice(object.Object, "webhooks")
	if err != nil {
		return fmt.Errorf("read the webhooks: %w", err)
	}
	for _, webhook := range webhooks {
		fields, ok := webhook.(map[string]any)
		if !ok {
			return fmt.Errorf("a webhook is %T, not an object", webhook)
		}
		path, _, err := unstructured.NestedString(fields, "clientConfig", "service", "path")
		if err != nil {
			return fmt.Errorf("read a webhook's path: %w", err)
		}
		config := map[string]any{"url": e.URL + path}
		if len(e.CABundle) > 0 {
			config["caBundle"] = base64.StdEncoding.EncodeToString(e.CABundle)
		}
		fields["clientConfig"] = config
	}
	return unstructured.SetNestedSlice(object.Object, webhooks, "webhooks")
}
