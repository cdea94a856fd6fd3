package tag

import (
	"context"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/workqueue"
)

// failingIndex finds the Tags that are not Ready.
const failingIndex = "tagger.failing"

// indexFailing returns the index of the Tags that are not Ready.
func indexFailing(object client.Object) []string {
	if tag, ok := object.(*v1.Tag); ok && tag.NotReadyReason() != "" {
		return []string{"true"}
	}
	return nil
}

// failingInNamespace returns the Tags that a change of pull secrets may cure.
func (r *Reconciler) failingInNamespace(ctx context.Context, secret client.Object) []ctrl.Request {
	r.State.SecretsChanged(secret.GetNamespace())
	return r.failing(ctx, client.InNamespace(secret.GetNamespace()))
}

// failingAnywhere returns the Tags that a change of registries.conf may cure.
func (r *Reconciler) failingAnywhere(ctx context.Context, _ client.Object) []ctrl.Request {
	return r.failing(ctx)
}

func (r *Reconciler) failing(ctx context.Context, options ...client.ListOption) []ctrl.Request {
	var tags v1.TagList
	options = append(options, client.MatchingFields{failingIndex: "true"}, client.UnsafeDisableDeepCopy)
	if err := r.Client.List(ctx, &tags, options...); err != nil {
		log.FromContext(ctx).Error(err, "listing the Tags to try anew")
		return nil
	}
	return workqueue.RequestsFor(&tags)
}

// enqueueFailing enqueues the Tags that a change of another object may cure.
func enqueueFailing(tags handler.MapFunc) handler.EventHandler {
	retry := func(ctx context.Context, object client.Object, q workqueue.Queue) {
		workqueue.Enqueue(q, workqueue.RetryPriority, tags(ctx, object))
	}
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, e event.CreateEvent, q workqueue.Queue) { retry(ctx, e.Object, q) },
		UpdateFunc:  func(ctx context.Context, e event.UpdateEvent, q workqueue.Queue) { retry(ctx, e.ObjectNew, q) },
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, q workqueue.Queue) { retry(ctx, e.Object, q) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q workqueue.Queue) { retry(ctx, e.Object, q) },
	}
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
