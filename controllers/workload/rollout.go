package workload

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/apiaccess"
	"github.com/images-io/tagger/internal/pin"
)

// requestRollout asks admission to write what is wanted, as much as fits into a request: the change of the workload brings the rest. A response
// that still has the annotation shows that the webhook was not called; then the template is written here, which an event reports.
func (r *Reconciler) requestRollout(ctx context.Context, object client.Object, wanted pin.Record) error {
	wanted = wanted.Fitting()
	asked := object.DeepCopyObject().(client.Object)
	apiaccess.SetAnnotation(asked, v1.AnnotationRequested, wanted.Format())
	patch := client.MergeFromWithOptions(object, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, asked, patch, client.FieldOwner(v1.FieldManager)); err != nil {
		return fmt.Errorf("asking for the images of %s %s: %w", r.Kind.Name, client.ObjectKeyFromObject(object), err)
	}
	if _, left := asked.GetAnnotations()[v1.AnnotationRequested]; left {
		var err error
		if asked, err = r.patchTemplate(ctx, asked); err != nil {
			return err
		}
	}
	r.emitRollout(asked, object, wanted)
	r.warnMissingPullSecrets(ctx, asked)
	return nil
}

// patchTemplate does what admission would have done, and returns what is stored.
func (r *Reconciler) patchTemplate(ctx context.Context, stored client.Object) (client.Object, error) {
	moved := stored.DeepCopyObject().(client.Object)
	old, _ := pin.Of(stored)
	workload, _ := pin.Of(moved)
	lookup := r.lookup(ctx, r.Live, stored.GetNamespace())
	request := pin.Request{Old: old, New: workload, Namespace: stored.GetNamespace(), Trusted: true, Lookup: lookup, Fresh: lookup}
	if _, err := pin.Admit(request); err != nil {
		return nil, fmt.Errorf("pinning %s %s: %w", r.Kind.Name, client.ObjectKeyFromObject(stored), err)
	}
	patch := client.StrategicMergeFrom(stored, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, moved, patch, client.FieldOwner(v1.FieldManager)); err != nil {
		return nil, fmt.Errorf("writing the images of %s %s: %w", r.Kind.Name, client.ObjectKeyFromObject(stored), err)
	}
	r.Events.Eventf(moved, nil, corev1.EventTypeWarning, "WebhookNotCalled", "Pin",
		"the API server did not call Tagger's webhook, so Tagger wrote the images itself; the next server-side apply of the manifest may conflict. Check the MutatingWebhookConfiguration and its caBundle")
	return moved, nil
}

// emitRollout emits events of what was stored: of fields that follow a Tag as a rollout, of those that admission missed as a
// repair.
func (r *Reconciler) emitRollout(stored, before client.Object, wanted pin.Record) {
	old, _ := pin.Of(before)
	followed := map[string]string{}
	for _, pinned := range old.PinnedFields() {
		followed[pinned.Field.Key] = pinned.Entry.Tag
	}
	var rollouts, repairs []string
	workload, _ := pin.Of(stored)
	for _, f := range workload.ImageFields() {
		entry, isWanted := wanted[f.Key]
		said := fmt.Sprintf("%s: Tag %s is %s", f, entry.Tag, *f.Image)
		switch {
		case !isWanted:
		case followed[f.Key] == entry.Tag:
			rollouts = append(rollouts, said)
		default:
			repairs = append(repairs, said)
		}
	}
	r.emit(stored, "Rollout", rollouts)
	r.emit(stored, "Repaired", repairs)
}

func (r *Reconciler) emit(object client.Object, reason string, what []string) {
	if len(what) > 0 {
		r.Events.Eventf(object, nil, corev1.EventTypeNormal, reason, "Pin", "%s", v1.Truncate(strings.Join(what, "; "), v1.MaxReasonLength))
	}
}

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
