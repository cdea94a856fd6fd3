package tag

import (
	"context"
	"fmt"
	"time"

	"github.com/images-io/tagger/controllers/internal/apiaccess"
	"github.com/images-io/tagger/controllers/internal/workqueue"

	corev1 "k8s.io/api/core/v1"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/generation"
	"github.com/images-io/tagger/internal/importer"
)

// parallelTags is how many Tags are worked on at once. They wait for registries most of the time.
const parallelTags = 32

// soon is when to look again at a Tag that may still need a step.
const soon = time.Second

// Importer finds the image of a Tag's source. Its errors are importer.Failures, importer.Postponed or *importer.UnderWay, but for
// those of the API server.
type Importer interface {
	// Import finds the image for a new generation.
	Import(ctx context.Context, tag *v1.Tag, terms importer.Terms) (importer.Image, error)
	// Check only asks which image it is now.
	Check(ctx context.Context, tag *v1.Tag, terms importer.Terms) (importer.Image, error)
	// Verify sees whether the internal registry has a generation, and has it copied there again where it does not, and what was
	// attached to it since.
	Verify(tag *v1.Tag, ref *v1.Reference) (importer.Copied, error)
}

// TagReconciler imports Tags and moves them between generations.
type TagReconciler struct {
	Client client.Client
	// Live reads the API server, when a write shows that the cache is behind.
	Live     client.Reader
	Importer Importer
	Copies   Copies
	// Collector takes away what is not needed in the internal registry any more.
	Collector Collector
	// VerifyInterval is how often the internal registry is asked for a generation in use.
	VerifyInterval time.Duration
	Events         events.EventRecorder
	Clock          clock.PassiveClock
	// Memory is what is known about Tags that is in no object.
	Memory *Memory

	refusals apiaccess.Refusals
	// usageReads bounds the memory for what namespaces run: one prune at a time reads it.
	usageReads importer.NamespaceLock
}

// SetupWithManager has the manager call Reconcile for Tags that change, and for those that fail when the pull secrets
// of their namespace, or registries.conf, change.
func (r *TagReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1.Tag{}, failingIndex, indexFailing); err != nil {
		return fmt.Errorf("indexing the Tags that fail: %w", err)
	}
	tags, err := mgr.GetCache().GetInformer(ctx, &v1.Tag{})
	if err != nil {
		return fmt.Errorf("watching Tags: %w", err)
	}
	if _, err := tags.AddEventHandler(r.Memory.TagEvents()); err != nil {
		return fmt.Errorf("watching Tags: %w", err)
	}
	pullSecrets := &metav1.PartialObjectMetadata{}
	pullSecrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return ctrl.NewControllerManagedBy(mgr).
		Named("tag").
		For(&v1.Tag{}, builder.WithPredicates(tagChanged)).
		WatchesMetadata(pullSecrets, mended(r.failingInNamespace), builder.WithPredicates(workqueue.IsNews, predicate.ResourceVersionChangedPredicate{})).
		WatchesRawSource(source.Channel(r.Memory.configurationChanged, mended(r.failingAnywhere))).
		WatchesRawSource(r.copiesThatEnd()).
		WithOptions(controller.Options{MaxConcurrentReconciles: parallelTags, ReconciliationTimeout: workqueue.LongestReconcile, RateLimiter: workqueue.Retries()}).
		Complete(r)
}

// Reconcile takes one step for a Tag: plan, act, write the status once, and say what happened after it was written.
func (r *TagReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var tag v1.Tag
	if err := r.Client.Get(ctx, request.NamespacedName, &tag); err != nil {
		if apierrors.IsNotFound(err) {
			r.Memory.forget(request.NamespacedName)
			r.Copies.Forget(request.NamespacedName)
			r.refusals.Forget(request)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !tag.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, &tag)
	}
	if isUnguarded(&tag) {
		return ctrl.Result{}, client.IgnoreNotFound(r.guard(ctx, &tag))
	}
	r.Copies.Release(&tag)
	decision := r.plan(&tag)
	known := r.Memory.recall(request.NamespacedName)
	outcome, err := r.act(ctx, &tag, decision)
	if err != nil {
		r.Copies.Settle(request.NamespacedName)
		return r.refusals.Handle(ctx, r.Events, &tag, err)
	}
	current, written, err := r.write(ctx, &tag, outcome)
	if err != nil {
		return r.refusals.Handle(ctx, r.Events, &tag, err)
	}
	r.refusals.Forget(request)
	if current == nil {
		r.Memory.takeBack(request.NamespacedName, known)
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	r.Copies.Settle(request.NamespacedName)
	if written || outcome.change == nil {
		r.announce(ctx, current, outcome)
	}
	return r.next(current), nil
}

// plan decides what to do next for the Tag.
func (r *TagReconciler) plan(tag *v1.Tag) generation.Decision {
	now := r.Clock.Now()
	last := r.Memory.checked(client.ObjectKeyFromObject(tag), now)
	_, forgotten := r.Memory.forgotten(tag)
	verify, collect := r.upkeepTimes(tag, now)
	return generation.Plan(generation.Input{
		Tag: tag, Now: now, Checked: last.at, Changed: r.Memory.changed(tag.Namespace), Tried: last.request,
		Bar: last.barFor(generation.Question(tag)), VerifyAt: verify, CollectAt: collect, Forgotten: forgotten,
	})
}

// next is when to look at the Tag again, 0 waiting for a change, and how urgent that is then.
func (r *TagReconciler) next(tag *v1.Tag) ctrl.Result {
	decision := r.plan(tag)
	switch {
	case decision.Action != generation.Keep && decision.Action != generation.Reject:
		return ctrl.Result{RequeueAfter: soon}
	case !tag.FailingSince().IsZero():
		return ctrl.Result{RequeueAfter: decision.After, Priority: new(workqueue.RetryPriority)}
	case decision.Awaited:
		return ctrl.Result{RequeueAfter: decision.After, Priority: new(workqueue.FreshPriority)}
	default:
		return ctrl.Result{RequeueAfter: decision.After, Priority: new(workqueue.RestingPriority)}
	}
}

// act does what was decided, but for the status, which it returns the change of.
func (r *TagReconciler) act(ctx context.Context, tag *v1.Tag, decision generation.Decision) (outcome, error) {
	switch decision.Action {
	case generation.Import:
		return r.importGeneration(ctx, tag, decision)
	case generation.Check:
		return r.check(ctx, tag, decision)
	case generation.Restore:
		return r.restored(tag), nil
	case generation.Select:
		r.Memory.verified(client.ObjectKeyFromObject(tag), r.Clock.Now()) // it was not verified since the Tag left it
		return selected(decision, r.now()), nil
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
	case generation.Collect:
		return r.collect(ctx, tag)
	case generation.Keep:
		return outcome{}, r.unguard(ctx, tag)
	default:
		return outcome{}, fmt.Errorf("Tag %s: no step for the decision %q", client.ObjectKeyFromObject(tag), decision.Action)
	}
}

func (r *TagReconciler) now() metav1.Time { return metav1.NewTime(r.Clock.Now()) }
