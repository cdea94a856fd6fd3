package tag

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

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

// tagChanged lets through what a decision depends on: the spec, the annotations, the finalizers, what is imported and in use. An
// attempt that a step records does not start another.
var tagChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		old, updated := e.ObjectOld.(*v1.Tag), e.ObjectNew.(*v1.Tag)
		return old.Generation != updated.Generation ||
			!maps.Equal(old.Annotations, updated.Annotations) ||
			!slices.Equal(old.Finalizers, updated.Finalizers) ||
			!old.DeletionTimestamp.Equal(updated.DeletionTimestamp) ||
			!equality.Semantic.DeepEqual(old.Status.References, updated.Status.References) ||
			!equality.Semantic.DeepEqual(old.Status.Mirrored, updated.Status.Mirrored) ||
			!equality.Semantic.DeepEqual(old.Status.Generation, updated.Status.Generation)
	},
}
