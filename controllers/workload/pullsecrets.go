package workload

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/images-io/tagger/internal/pin"
)

// newWorkloadAge is for how long a workload counts as one: after a restart of the manager most are not.
const newWorkloadAge = time.Minute

// checkNewWorkload warns of a new workload, which admission has pinned.
func (r *Reconciler) checkNewWorkload(ctx context.Context, object client.Object) {
	if r.Clock.Since(object.GetCreationTimestamp().Time) < newWorkloadAge {
		r.warnMissingPullSecrets(ctx, object)
	}
}

// warnMissingPullSecrets names the imagePullSecrets of a workload that is new or rolls, and that its namespace does not have: an image of
// a private registry cannot be pulled without them, and the nodes tell it pod by pod. Those of its service account come later, so
// nothing is said of them.
func (r *Reconciler) warnMissingPullSecrets(ctx context.Context, object client.Object) {
	workload, _ := pin.Of(object)
	if len(workload.Pod.ImagePullSecrets) == 0 {
		return
	}
	var missing []string
	for i, secret := range workload.Pod.ImagePullSecrets {
		if i == maxCheckedPullSecrets {
			break
		}
		isThere, err := r.hasPullSecret(ctx, object.GetNamespace(), secret.Name)
		if err != nil {
			log.FromContext(ctx).Info("pull secrets are not looked at", "error", err.Error()) // the workload is as it should be all the same
			return
		}
		if !isThere {
			missing = append(missing, secret.Name)
		}
	}
	if len(missing) > 0 {
		r.Events.Eventf(object, nil, corev1.EventTypeWarning, "PullSecretMissing", "Pin",
			"imagePullSecrets not found, or not of a registry credential type, in this namespace: %s", strings.Join(missing, ", "))
	}
}

// maxCheckedPullSecrets bounds the imagePullSecrets of a workload that are looked at: a tenant names any number.
const maxCheckedPullSecrets = 16

// hasPullSecret reports whether the namespace has a secret of the name that nodes would take for credentials of registries. Its content is
// not read. The manager has the right to list secrets, and needs no other.
func (r *Reconciler) hasPullSecret(ctx context.Context, namespace, name string) (bool, error) {
	for _, kind := range []corev1.SecretType{corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
		named := client.MatchingFields{"type": string(kind), metav1.ObjectNameField: name}
		if err := r.Live.List(ctx, list, client.InNamespace(namespace), named); err != nil || len(list.Items) > 0 {
			return len(list.Items) > 0, err
		}
	}
	return false, nil
}
