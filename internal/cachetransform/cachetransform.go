package cachetransform

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
	"github.com/images-io/tagger/internal/workloadkind"
)

// cachedAnnotations are the annotations that Tagger reads (DESIGN 2). The caches keep no others.
var cachedAnnotations = []string{
	v1.AnnotationEnabled, v1.AnnotationPinned, v1.AnnotationRequested, v1.AnnotationKeepPullPolicy,
	v1.AnnotationRequestedGeneration, v1.AnnotationDeclaredGeneration, v1.AnnotationTrigger, v1.AnnotationAdmittedSource,
	v1.AnnotationRequestedCheck,
}

// Tag keeps of a Tag in the informer cache what Tagger reads: its spec and its status, and of its metadata what
// identifies it and what Tagger and its plugin wrote. It is a cache.TransformFunc.
func Tag(object any) (any, error) {
	if tag, ok := object.(*v1.Tag); ok {
		own := ownAnnotations(&tag.ObjectMeta)
		finalizers := tag.Finalizers // all of them, for a patch of the list replaces it
		tag.ObjectMeta = identity(&tag.ObjectMeta)
		tag.Annotations, tag.Finalizers = own, finalizers
	}
	return object, nil
}

// Secret keeps of a pull secret's metadata what tells that it changed. What kubectl applied last is left out: it
// holds the credentials. It is a cache.TransformFunc.
func Secret(object any) (any, error) {
	if secret, ok := object.(*metav1.PartialObjectMetadata); ok {
		return &metav1.PartialObjectMetadata{TypeMeta: secret.TypeMeta, ObjectMeta: identity(&secret.ObjectMeta)}, nil
	}
	return object, nil
}

// Workload returns the cache.TransformFunc of a kind. It keeps of a workload what Tagger reads: of one that did not opt in, that it is
// there. A patch of what is kept holds only differences, and none of what is left out.
func Workload(kind workloadkind.Kind) func(object any) (any, error) {
	return func(object any) (any, error) { return transformWorkload(kind, object) }
}

func transformWorkload(kind workloadkind.Kind, object any) (any, error) {
	full, ok := pin.Of(object)
	if !ok {
		return object, nil
	}
	cached := kind.New()
	kept, _ := pin.Of(cached)
	*kept.Meta = identity(full.Meta)
	if !full.Enabled() {
		return cached, nil
	}
	kept.Meta.Annotations = ownAnnotations(full.Meta)
	kept.Pod.InitContainers = images(full.Pod.InitContainers)
	kept.Pod.Containers = images(full.Pod.Containers)
	kept.Pod.Volumes = imageVolumes(full.Pod.Volumes)
	kept.Pod.ImagePullSecrets = full.Pod.ImagePullSecrets
	if set, ok := cached.(*appsv1.StatefulSet); ok { // tells whether it waits for pods
		status := object.(*appsv1.StatefulSet).Status
		set.Status = appsv1.StatefulSetStatus{
			ObservedGeneration: status.ObservedGeneration, Replicas: status.Replicas, ReadyReplicas: status.ReadyReplicas, UpdatedReplicas: status.UpdatedReplicas,
		}
	}
	return cached, nil
}

func identity(full *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: full.Namespace, Name: full.Name, UID: full.UID,
		ResourceVersion: full.ResourceVersion, Generation: full.Generation, DeletionTimestamp: full.DeletionTimestamp,
		CreationTimestamp: full.CreationTimestamp,
	}
}

// ownAnnotations returns the annotations that Tagger reads. One that is too large counts as absent, and is logged.
func ownAnnotations(full *metav1.ObjectMeta) map[string]string {
	var own map[string]string
	for _, key := range cachedAnnotations {
		value, ok := full.Annotations[key]
		switch {
		case !ok:
		case len(value) > pin.MaxAnnotation:
			ctrl.Log.WithName("cache").Info("an annotation is too large and counts as absent",
				"namespace", full.Namespace, "name", full.Name, "annotation", key, "bytes", len(value), "limit", pin.MaxAnnotation)
		default:
			if own == nil {
				own = map[string]string{}
			}
			own[key] = value
		}
	}
	return own
}

func images(full []corev1.Container) []corev1.Container {
	kept := make([]corev1.Container, len(full))
	for i := range full {
		kept[i] = corev1.Container{Name: full[i].Name, Image: full[i].Image, ImagePullPolicy: full[i].ImagePullPolicy}
	}
	return kept
}

func imageVolumes(full []corev1.Volume) (kept []corev1.Volume) {
	for i := range full {
		if source := full[i].Image; source != nil {
			kept = append(kept, corev1.Volume{Name: full[i].Name, VolumeSource: corev1.VolumeSource{Image: source}})
		}
	}
	return kept
}
