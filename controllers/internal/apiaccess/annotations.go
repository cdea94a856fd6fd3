package apiaccess

import "sigs.k8s.io/controller-runtime/pkg/client"

// SetAnnotation sets one annotation of an object.
func SetAnnotation(object client.Object, key, value string) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	object.SetAnnotations(annotations)
}
