package backstop

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	v1 "github.com/images-io/tagger/api/v1"
)

// Labels of what the manager makes (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
const (
	labelName      = "app.kubernetes.io/name"
	labelManagedBy = "app.kubernetes.io/managed-by"
)

// parseManifests returns the policy and its binding, named as config/default names them, with owners.
func parseManifests(manifest []byte, namespace string, owners []metav1.OwnerReference) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), len(manifest))
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err == nil {
			err = fillIn(object, namespace)
		}
		if err != nil {
			return nil, fmt.Errorf("the manifest of the backstop: %w", err)
		}
		object.SetOwnerReferences(owners)
		objects = append(objects, object)
	}
}

// fillIn does what kustomize does to an object of the manifest in config/default.
func fillIn(object *unstructured.Unstructured, namespace string) error {
	object.SetName(Name)
	object.SetLabels(map[string]string{labelName: v1.FieldManager, labelManagedBy: v1.FieldManager})
	if object.GetKind() == "ValidatingAdmissionPolicyBinding" {
		return unstructured.SetNestedField(object.Object, Name, "spec", "policyName")
	}
	elsewhere := []any{map[string]any{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": []any{namespace}}}
	return unstructured.SetNestedSlice(object.Object, elsewhere, "spec", "matchConstraints", "namespaceSelector", "matchExpressions")
}
