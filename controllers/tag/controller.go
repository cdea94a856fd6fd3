package tag

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/workqueue"
	"github.com/images-io/tagger/controllers/tag/state"
	"github.com/images-io/tagger/internal/generation"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
)

// maxConcurrentReconciles is how many Tags are worked on at once. They wait for registries most of the time.
const maxConcurrentReconciles = 32

// SetupWithManager makes the manager call Reconcile for Tags that change, and for those that fail when the pull secrets
// of their namespace, or registries.conf, change.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1.Tag{}, failingIndex, indexFailing); err != nil {
		return fmt.Errorf("indexing the Tags that fail: %w", err)
	}
	pullSecrets := &metav1.PartialObjectMetadata{}
	pullSecrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return ctrl.NewControllerManagedBy(mgr).
		Named("tag").
		For(&v1.Tag{}, builder.WithPredicates(tagChanged)).
		WatchesMetadata(pullSecrets, enqueueFailing(r.failingInNamespace), builder.WithPredicates(workqueue.IgnoreInitialList, predicate.ResourceVersionChangedPredicate{})).
		WatchesRawSource(source.Channel(r.State.Retriggers, enqueueFailing(r.failingAnywhere))).
		WatchesRawSource(r.finishedJobs()).
		WithOptions(controller.Options{MaxConcurrentReconciles: maxConcurrentReconciles, ReconciliationTimeout: workqueue.ReconcileTimeout, RateLimiter: workqueue.RateLimiter()}).
		Complete(r)
}

// Reconcile takes one step for a Tag: plan, act, write the status once, and say what happened after it was written.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var tag v1.Tag
	if err := r.Client.Get(ctx, request.NamespacedName, &tag); err != nil {
		if apierrors.IsNotFound(err) {
			r.State.Forget(request.NamespacedName)
			r.Jobs.Cancel(request.NamespacedName)
			r.refusals.Forget(request)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !tag.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, &tag)
	}
	if lacksFinalizer(&tag) {
		return ctrl.Result{}, client.IgnoreNotFound(r.ensureFinalizer(ctx, &tag))
	}
	r.Jobs.CancelStale(jobs.Owner{NamespacedName: request.NamespacedName, UID: tag.UID}, func(generation int64, key string) bool {
		return importer.Wants(&tag, generation, key)
	})
	decision := r.plan(&tag)
	outcome, err := r.act(ctx, &tag, decision)
	if err != nil {
		r.Jobs.Ack(request.NamespacedName)
		return r.refusals.Handle(ctx, r.Events, &tag, err)
	}
	current, written, err := r.write(ctx, &tag, outcome)
	if err != nil {
		return r.refusals.Handle(ctx, r.Events, &tag, err)
	}
	r.refusals.Forget(request)
	if current == nil {
		return ctrl.Result{RequeueAfter: shortRequeue}, nil
	}
	r.Jobs.Ack(request.NamespacedName)
	if outcome.remember != nil {
		outcome.remember()
	}
	if written || outcome.change == nil {
		r.emit(ctx, current, outcome)
	}
	return r.next(current), nil
}

// plan decides what to do next for the Tag.
func (r *Reconciler) plan(tag *v1.Tag) generation.Decision {
	now := r.Clock.Now()
	name := client.ObjectKeyFromObject(tag)
	last := r.State.Checked(name, now)
	hold := last.HoldFor(generation.RequestKey(tag), func(kind jobs.Kind) bool { return r.Jobs.InProgress(name, kind) })
	verify, collect := r.maintenanceTimes(tag, now)
	return generation.Plan(generation.Input{
		Tag: tag, Now: now, Checked: last.At, Changed: r.State.Changed(tag.Namespace), Tried: last.Request, Repeat: last.Repeat,
		Hold: hold, VerifyAt: verify, PruneAt: collect,
	})
}

// next returns when to reconcile the Tag again, 0 meaning at the next change, and with which priority.
func (r *Reconciler) next(tag *v1.Tag) ctrl.Result {
	decision := r.plan(tag)
	switch {
	case decision.Action != generation.Keep && decision.Action != generation.Reject:
		return ctrl.Result{RequeueAfter: shortRequeue}
	case !tag.FailingSince().IsZero():
		return ctrl.Result{RequeueAfter: decision.After, Priority: new(workqueue.RetryPriority)}
	default:
		return ctrl.Result{RequeueAfter: decision.After, Priority: new(workqueue.RestingPriority)}
	}
}

// act does what was decided, but for the status, which it returns the change of.
func (r *Reconciler) act(ctx context.Context, tag *v1.Tag, decision generation.Decision) (outcome, error) {
	switch decision.Action {
	case generation.Import:
		return r.importGeneration(ctx, tag, decision)
	case generation.Check:
		return r.check(ctx, tag, decision)
	case generation.Select:
		moved := selected(decision, r.now())
		moved.remember = r.verifyAfter(client.ObjectKeyFromObject(tag), 0) // it was not verified since the Tag left it
		return moved, nil
	case generation.Refresh:
		return refreshed(r.now()), nil
	case generation.Reject:
		return rejected(decision, r.now()), nil
	case generation.Bump:
		return outcome{}, r.bump(ctx, tag, decision)
	case generation.Adopt, generation.Discard:
		return outcome{}, r.adopt(ctx, tag, decision)
	case generation.Verify:
		return r.verify(ctx, tag)
	case generation.Prune:
		return r.prune(ctx, tag)
	case generation.Keep:
		return outcome{}, r.removeFinalizer(ctx, tag)
	default:
		return outcome{}, fmt.Errorf("Tag %s: no step for the decision %q", client.ObjectKeyFromObject(tag), decision.Action)
	}
}

// maintenanceTimes returns when the Tag's images in the internal registry are verified and pruned. While one is copied there, none is taken
// away, for it may be made of the same, and none is verified but that one.
func (r *Reconciler) maintenanceTimes(tag *v1.Tag, now time.Time) (verify, collect time.Time) {
	name := client.ObjectKeyFromObject(tag)
	due := r.State.MaintenanceOf(name, generation.NextPoll(string(tag.UID), r.VerifyInterval, now))
	current := tag.CurrentMirrored()
	for _, copied := range r.Jobs.Copying(name) {
		due.Prune = now.Add(state.ProgressInterval)
		if current == nil || current.Generation != copied {
			due.Verify = now.Add(state.ProgressInterval)
		}
	}
	return due.Verify, due.Prune
}
