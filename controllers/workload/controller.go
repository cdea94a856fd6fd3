package workload

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/apiaccess"
	"github.com/images-io/tagger/controllers/internal/workqueue"
	"github.com/images-io/tagger/internal/pin"
	"github.com/images-io/tagger/internal/workloadkind"
)

// parallelWorkloads is how many workloads of a kind are worked on at once.
const parallelWorkloads = 8

// tagIndex finds annotated workloads by the names of the Tags that they use.
const tagIndex = "tagger.tags"

// Registries tells where images without a registry come from.
type Registries interface {
	// UnqualifiedRegistry is the registry of images without one, empty meaning docker.io.
	UnqualifiedRegistry() string
}

// Reconciler has the workloads of one kind follow their Tags. It asks admission for what it wants: an image
// that it wrote itself would be its own, and the user's next server-side apply would conflict.
type Reconciler struct {
	Kind   workloadkind.Kind
	Client client.Client
	// Live reads the API server: before a workload is moved, its Tags are read again, since a cache that is behind would
	// take it back.
	Live       client.Reader
	Events     events.EventRecorder
	Registries Registries
	Clock      clock.PassiveClock

	refusals apiaccess.Refusals
	missing  missingTags
}

// SetupWithManager makes the manager call Reconcile for annotated workloads that change, and for those whose Tag moves.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, r.Kind.New(), tagIndex, usedTags); err != nil {
		return fmt.Errorf("indexing %ss by their Tags: %w", r.Kind.Name, err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(r.Kind.Name).
		For(r.Kind.New(), builder.WithPredicates(predicate.NewPredicateFuncs(isEnabled), workloadChanged)).
		Watches(&v1.Tag{}, handler.Funcs{CreateFunc: r.tagCreated, UpdateFunc: r.tagUpdated}, builder.WithPredicates(workqueue.IgnoreInitialList, tagMoved)).
		Watches(r.Kind.New(), handler.Funcs{UpdateFunc: r.reportDetached}).
		WithOptions(controller.Options{MaxConcurrentReconciles: parallelWorkloads, ReconciliationTimeout: workqueue.ReconcileTimeout, RateLimiter: workqueue.RateLimiter()}).
		Complete(r)
}

// Reconcile looks at one workload, and asks for the references that its containers should have and do not.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	object := r.Kind.New()
	if err := r.Client.Get(ctx, request.NamespacedName, object); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(request)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	workload, _ := pin.Of(object)
	if !workload.Enabled() || !object.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	wanted, err := pin.Wanted(workload, request.Namespace, r.lookup(ctx, r.Client, request.Namespace))
	if err == nil && len(wanted) > 0 {
		wanted, err = pin.Wanted(workload, request.Namespace, r.lookup(ctx, r.Live, request.Namespace))
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(wanted) > 0 {
		log.FromContext(ctx).Info("workload moves", "wanted", wanted)
		if err := r.requestRollout(ctx, object, wanted); err != nil {
			result, err := r.refusals.Handle(ctx, r.Events, object, err)
			if err != nil || result.IsZero() {
				return result, err
			}
			return r.followUp(ctx, object, result.RequeueAfter)
		}
	} else {
		r.checkNewWorkload(ctx, object)
	}
	r.refusals.Forget(request)
	return r.followUp(ctx, object, 0)
}

// followUp does what a workload needs besides its template. It comes again after the shortest of the delays, 0 meaning none.
func (r *Reconciler) followUp(ctx context.Context, object client.Object, after time.Duration) (ctrl.Result, error) {
	for _, step := range []func(context.Context, client.Object) (time.Duration, error){r.reportMissingTags, r.deleteStuckPods} {
		delay, err := step(ctx, object)
		if err != nil {
			return ctrl.Result{}, err
		}
		if delay > 0 && (after == 0 || delay < after) {
			after = delay
		}
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

func (r *Reconciler) lookup(ctx context.Context, reader client.Reader, namespace string) pin.Lookup {
	get := func(name string) (*v1.Tag, error) {
		var tag v1.Tag
		err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &tag)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading Tag %s/%s: %w", namespace, name, err)
		}
		return &tag, nil
	}
	return pin.LookupWith(get, r.Registries.UnqualifiedRegistry())
}

func (r *Reconciler) tagCreated(ctx context.Context, e event.CreateEvent, q workqueue.Queue) {
	workqueue.Enqueue(q, workqueue.FreshPriority, r.followers(ctx, e.Object))
}

func (r *Reconciler) tagUpdated(ctx context.Context, e event.UpdateEvent, q workqueue.Queue) {
	workqueue.Enqueue(q, workqueue.FreshPriority, r.followers(ctx, e.ObjectNew))
}

// followers returns the workloads that use a Tag.
func (r *Reconciler) followers(ctx context.Context, tag client.Object) []ctrl.Request {
	list := r.Kind.NewList()
	options := []client.ListOption{client.InNamespace(tag.GetNamespace()), client.MatchingFields{tagIndex: tag.GetName()}, client.UnsafeDisableDeepCopy}
	if err := r.Client.List(ctx, list, options...); err != nil {
		log.FromContext(ctx).Error(err, "listing the workloads of a Tag")
		return nil
	}
	return workqueue.RequestsFor(list)
}

func usedTags(object client.Object) []string {
	workload, ok := pin.Of(object)
	if !ok || !workload.Enabled() {
		return nil
	}
	return workload.TagNames()
}

func isEnabled(object client.Object) bool {
	workload, ok := pin.Of(object)
	return ok && workload.Enabled()
}

// workloadChanged leaves out what is only about the status of a workload, but for the pods that a StatefulSet waits for.
var workloadChanged = predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, podsChanged)

// tagMoved lets through what workloads see of a Tag.
var tagMoved = predicate.Funcs{
	DeleteFunc: func(event.DeleteEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		old, updated := e.ObjectOld.(*v1.Tag), e.ObjectNew.(*v1.Tag)
		tried := old.Status.LastImportAttempt == nil && updated.Status.LastImportAttempt != nil
		return tried || !equality.Semantic.DeepEqual(old.Current(), updated.Current())
	},
}
