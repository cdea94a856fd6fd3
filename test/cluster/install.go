package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// installer is the field manager of Install.
const installer = "tagger-install"

// Install applies config/default, as `kubectl apply -k` would, for a manager that runs as a process and serves its webhooks at
// the endpoint: tests use the manifests that users install. It returns when custom resources can be created.
func Install(ctx context.Context, c *Cluster, endpoint WebhookEndpoint) error {
	root, err := Root()
	if err != nil {
		return err
	}
	return InstallFrom(ctx, c, filepath.Join(root, "config", "default"), endpoint)
}

// InstallFrom is Install with the manifests of another folder.
func InstallFrom(ctx context.Context, c *Cluster, folder string, endpoint WebhookEndpoint) error {
	objects, err := render(ctx, c.program("kubectl"), folder)
	if err != nil {
		return err
	}
	if objects, err = forProcess(objects, endpoint); err != nil {
		return err
	}
	api, err := client.New(c.Config, client.Options{})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	for _, object := range objects {
		if err := apply(ctx, api, object); err != nil {
			return fmt.Errorf("apply %s %s of %s: %w", object.GetKind(), object.GetName(), folder, err)
		}
	}
	return nil
}

// apply applies one object, and waits for a definition to be served.
func apply(ctx context.Context, api client.Client, object *unstructured.Unstructured) error {
	err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(installer), client.ForceOwnership)
	if err != nil || object.GetKind() != "CustomResourceDefinition" {
		return err
	}
	return await(ctx, "the definition to be served", never, func(ctx context.Context) error {
		if err := api.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		return established(object)
	})
}

// established returns an error while the API server does not serve the definition.
func established(crd *unstructured.Unstructured) error {
	conditions, _, err := unstructured.NestedSlice(crd.Object, "status", "conditions")
	if err != nil {
		return fmt.Errorf("read the conditions: %w", err)
	}
	for _, condition := range conditions {
		fields, _ := condition.(map[string]any)
		if fields["type"] == "Established" && fields["status"] == "True" {
			return nil
		}
	}
	return errors.New("not established")
}
