package tag

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/apiaccess"
)

// write puts the outcome into the status, once, if it changes anything, and only where the spec and the status are what the
// step was taken for: a cache that is behind makes no generation twice, and a process that stood still for longer than its
// lease takes nothing back that another one did meanwhile. It returns nil where they are not.
func (r *Reconciler) write(ctx context.Context, cached *v1.Tag, outcome outcome) (tag *v1.Tag, written bool, err error) {
	tag = cached.DeepCopy()
	outcome.apply(tag)
	if equality.Semantic.DeepEqual(cached.Status, tag.Status) {
		return tag, false, nil
	}
	patch, err := apiaccess.StatusPatch(cached, tag)
	if err == nil {
		err = r.Client.Status().Patch(ctx, tag, patch, client.FieldOwner(v1.FieldManager))
		written = err == nil
	}
	if apierrors.IsInvalid(err) { // something is not as it was, or not as these types would write it
		tag, written, err = r.patchWithLock(ctx, cached, outcome)
	}
	if err != nil {
		return nil, false, fmt.Errorf("writing the status of Tag %s: %w", client.ObjectKeyFromObject(cached), err)
	}
	return tag, written, nil
}

// patchWithLock writes with an optimistic lock: on a conflict the Tag is read live, and the outcome counts only where it fits
// what was read.
func (r *Reconciler) patchWithLock(ctx context.Context, cached *v1.Tag, outcome outcome) (tag *v1.Tag, written bool, err error) {
	tag = cached.DeepCopy()
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		before := tag.DeepCopy()
		outcome.apply(tag)
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		err := r.Client.Status().Patch(ctx, tag, patch, client.FieldOwner(v1.FieldManager))
		written = err == nil
		if !apierrors.IsConflict(err) {
			return err
		}
		var readErr error
		if tag, readErr = r.refetchUnchanged(ctx, cached); tag == nil {
			return readErr
		}
		return err
	})
	return tag, written, err
}

// refetchUnchanged returns the Tag as it is now, or nil when the outcome of the step that was taken does not fit it any more.
func (r *Reconciler) refetchUnchanged(ctx context.Context, cached *v1.Tag) (*v1.Tag, error) {
	var live v1.Tag
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(cached), &live); err != nil {
		return nil, err
	}
	same := live.UID == cached.UID && equality.Semantic.DeepEqual(live.Spec, cached.Spec) && equality.Semantic.DeepEqual(live.Status, cached.Status)
	if !same {
		return nil, nil
	}
	return &live, nil
}

// patch writes what differs between a Tag of the cache and what is wanted. The cache leaves annotations out, and a merge patch
// that drops the last annotation of an object drops all that are stored: so both have one that stays.
func (r *Reconciler) patch(ctx context.Context, tag, wanted *v1.Tag) error {
	before := tag.DeepCopy()
	apiaccess.SetAnnotation(before, v1.AnnotationEnabled, "")
	apiaccess.SetAnnotation(wanted, v1.AnnotationEnabled, "")
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, wanted, patch, client.FieldOwner(v1.FieldManager)); err != nil {
		return fmt.Errorf("patching Tag %s: %w", client.ObjectKeyFromObject(tag), err)
	}
	return nil
}
