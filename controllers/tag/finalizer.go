package tag

import (
	"context"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/tag/prune"
)

// lacksFinalizer reports whether a Tag that has something in the internal registry lacks the finalizer: kubectl replace removes it with a
// manifest that has none.
func lacksFinalizer(tag *v1.Tag) bool {
	return len(tag.Status.Mirrored) > 0 && !controllerutil.ContainsFinalizer(tag, v1.FinalizerMirror)
}

// ensureFinalizer puts the finalizer on a Tag that has something in the internal registry, or is about to.
func (r *Reconciler) ensureFinalizer(ctx context.Context, tag *v1.Tag) error {
	guarded := tag.DeepCopy()
	if !controllerutil.AddFinalizer(guarded, v1.FinalizerMirror) {
		return nil
	}
	return r.patch(ctx, tag, guarded)
}

// maxFinalizeAttempts is how often a deleted Tag tries to delete its images in the internal registry: half a minute in
// all, and two minutes where the registry does not respond.
const maxFinalizeAttempts = 5

// finalize deletes the images of a deleted Tag in the internal registry and removes the finalizer, after a few failed attempts in any
// case.
// What a workload or another Tag uses stays there.
func (r *Reconciler) finalize(ctx context.Context, tag *v1.Tag) (ctrl.Result, error) {
	name := client.ObjectKeyFromObject(tag)
	ended := r.Jobs.Cancel(name)
	if !controllerutil.ContainsFinalizer(tag, v1.FinalizerMirror) {
		return ctrl.Result{}, nil
	}
	if !ended {
		return ctrl.Result{RequeueAfter: shortRequeue}, nil
	}
	if wait := r.State.NextFinalizeAttempt(name).Sub(r.Clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	found, err := r.Pruner.Prune(ctx, tag, tag.Status.Mirrored)
	if errors.Is(err, prune.ErrBusy) {
		return ctrl.Result{RequeueAfter: shortRequeue}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(found.Gone) > 0 && (found.Deferred || len(found.Left()) > 0) { // progress does not count as an attempt
		_, _, err := r.write(ctx, tag, outcome{change: forgetMirrored(found.Gone)})
		return ctrl.Result{RequeueAfter: shortRequeue}, client.IgnoreNotFound(err)
	}
	if found.Deferred {
		return ctrl.Result{RequeueAfter: deferredDelay}, nil
	}
	if len(found.Left()) > 0 {
		if tries, wait := r.State.PruneLater(name, r.Clock.Now()); tries < maxFinalizeAttempts {
			return ctrl.Result{RequeueAfter: wait}, nil
		}
	}
	free := tag.DeepCopy()
	controllerutil.RemoveFinalizer(free, v1.FinalizerMirror)
	if err := r.patch(ctx, tag, free); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	r.State.Forget(name)
	if stays := slices.Concat(found.Left(), imagesOf(found.Denied())); len(stays) > 0 {
		log.FromContext(ctx).Info("the Tag is gone, and images stay in the internal registry", "images", stays)
		r.emit(ctx, free, outcome{events: []pendingEvent{{corev1.EventTypeWarning, "PruneIncomplete", "Prune", "Tag deleted; these images could not be removed from the internal registry: " + strings.Join(stays, "; ")}}})
	}
	return ctrl.Result{}, nil
}

// removeFinalizer takes the finalizer off a Tag that has nothing in the internal registry any more.
func (r *Reconciler) removeFinalizer(ctx context.Context, tag *v1.Tag) error {
	if len(tag.Status.Mirrored) > 0 || !controllerutil.ContainsFinalizer(tag, v1.FinalizerMirror) {
		return nil
	}
	live, err := r.refetchUnchanged(ctx, tag)
	if err != nil || live == nil || !equality.Semantic.DeepEqual(live.Finalizers, tag.Finalizers) {
		return client.IgnoreNotFound(err)
	}
	free := live.DeepCopy()
	controllerutil.RemoveFinalizer(free, v1.FinalizerMirror)
	return client.IgnoreNotFound(r.patch(ctx, live, free))
}
