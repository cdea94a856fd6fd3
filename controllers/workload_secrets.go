package controllers

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/images-io/tagger/internal/pin"
)

// isNew is for how long a workload counts as one: after a restart of the manager most are not.
const isNew = time.Minute

// welcome warns of a new workload, which admission has pinned.
func (r *WorkloadReconciler) welcome(ctx context.Context, object client.Object) {
	if r.Clock.Since(object.GetCreationTimestamp().Time) < isNew {
		r.warnOfSecrets(ctx, object)
	}
}

// warnOfSecrets names the imagePullSecrets of a workload that is new or rolls, and that its namespace does not have: an image of
// a private registry cannot be pulled without them, and the nodes tell it pod by pod. Those of its service account come later, so
// nothing is said of them.
func (r *WorkloadReconciler) warnOfSecrets(ctx context.Context, object client.Object) {
	workload, _ := pin.Of(object)
	if len(workload.Pod.ImagePullSecrets) == 0 {
		return
	}
	there, err := r.pullSecrets(ctx, object.GetNamespace())
	if err != nil {
		log.FromContext(ctx).Info("pull secrets are not looked at", "error", err.Error()) // the workload is as it should be all the same
		return
	}
	var missing []string
	for _, secret := range workload.Pod.ImagePullSecrets {
		if !there[secret.Name] {
			missing = append(missing, secret.Name)
		}
	}
	if len(missing) > 0 {
		r.Events.Eventf(object, nil, corev1.EventTypeWarning, "PullSecretMissing", "Pin",
			"imagePullSecrets names what is no pull secret of this namespace: %s", strings.Join(missing, ", "))
	}
}

// pullSecrets are the names of the secrets that nodes would take for credentials of registries. Their content is not read.
func (r *WorkloadReconciler) pullSecrets(ctx context.Context, namespace string) (map[string]bool, error) {
	there := map[string]bool{}
	newList := func() client.ObjectList {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
		return list
	}
	for _, kind := range []corev1.SecretType{corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg} {
		err := eachListed(ctx, r.Live, newList, func(secret runtime.Object) error {
			there[secret.(*metav1.PartialObjectMetadata).Name] = true
			return nil
		}, client.InNamespace(namespace), client.MatchingFields{"type": string(kind)})
		if err != nil {
			return nil, err
		}
	}
	return there, nil
}
