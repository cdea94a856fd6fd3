package tag

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/images-io/tagger/controllers/internal/apiaccess"

	corev1 "k8s.io/api/core/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/generation"
	"github.com/images-io/tagger/internal/importer"
)

// outcome is what a step found: how the status changes, and what to say once that is written.
type outcome struct {
	change func(*v1.Tag)
	events []pendingEvent
}

// apply changes the status of a Tag as the outcome says.
func (o outcome) apply(tag *v1.Tag) {
	if o.change != nil {
		o.change(tag)
	}
	tag.Trim()
}

// importGeneration imports the generation wanted and moves the Tag to it.
func (r *Reconciler) importGeneration(ctx context.Context, tag *v1.Tag, decision generation.Decision) (outcome, error) {
	image, err := r.Importer.Import(ctx, tag, r.terms(tag, decision))
	if err != nil {
		return r.failed(ctx, tag, image, err, decision)
	}
	r.recordChecked(tag, decision)
	r.State.resetPrune(client.ObjectKeyFromObject(tag))
	switch {
	case decision.Request != tag.Status.LastHandledRequest: // the image may have been signed while it was copied
		r.State.checkRequested(client.ObjectKeyFromObject(tag), r.Clock.Now())
	case image.Copied.Missing != "":
		r.State.verifyAt(client.ObjectKeyFromObject(tag), r.verifyNext(tag, image.Copied.Missing))
	}
	ref := r.reference(tag, image, decision)
	return outcome{
		change: func(t *v1.Tag) {
			t.RecordImport(ref)
			t.Status.LastHandledRequest = decision.Request
			if t.CurrentMirrored() != nil {
				t.MarkMirrored(image.Copied.Missing, ref.ImportedAt)
			}
		},
		events: slices.Concat(malformedEvent(image), mirroredEvent(image, ref.Generation), []pendingEvent{{
			corev1.EventTypeNormal, "Imported", "Import", fmt.Sprintf("generation %d is %s", ref.Generation, ref.ImageReference),
		}}),
	}, nil
}

// check asks the registry for news and, where there are any, has them imported: by moving the Tag on, or, while it
// stands at an older generation, beside it, since a rollback sticks until a person upgrades.
func (r *Reconciler) check(ctx context.Context, tag *v1.Tag, decision generation.Decision) (outcome, error) {
	terms := r.terms(tag, decision)
	image, err := r.Importer.Check(ctx, tag, terms)
	newest := tag.Newest()
	next := generation.Decision{Generation: newest.Generation + 1, Trigger: decision.Trigger, Request: decision.Request}
	switch {
	case err != nil:
		return r.failed(ctx, tag, image, err, decision)
	case generation.SameDigest(newest, image.Digest):
		r.recordChecked(tag, decision)
		if !decision.IsPoll() { // the image may have been signed
			r.State.checkRequested(client.ObjectKeyFromObject(tag), r.Clock.Now())
		}
		return r.unchanged(tag, image, decision), nil
	case tag.WantedGeneration() < newest.Generation:
		return r.recordWithoutRollout(ctx, tag, next, terms)
	default:
		r.recordChecked(tag, decision)
		return outcome{events: malformedEvent(image)}, r.bump(ctx, tag, next)
	}
}

// terms returns those of a request, which waits for news since the question came up, or of a poll.
func (r *Reconciler) terms(tag *v1.Tag, decision generation.Decision) importer.Terms {
	terms := importer.Terms{NotBefore: decision.NotBefore, Poll: decision.IsPoll(), Question: generation.RequestKey(tag), Generation: decision.Generation}
	if terms.NotBefore.IsZero() {
		terms.NotBefore = r.State.wanted(client.ObjectKeyFromObject(tag), generation.RequestKey(tag), r.Clock.Now())
	}
	return terms
}

// recordChecked notes that the registry answered, be it with a failure.
func (r *Reconciler) recordChecked(tag *v1.Tag, decision generation.Decision) {
	r.State.remember(client.ObjectKeyFromObject(tag), r.Clock.Now(), decision.Request)
}

// unchanged records that a request was handled, and that a failure is over; else there is nothing to write.
func (r *Reconciler) unchanged(tag *v1.Tag, image importer.Image, decision generation.Decision) outcome {
	now, failing := r.now(), !tag.IsReady()
	return outcome{
		change: func(t *v1.Tag) {
			t.Status.LastHandledRequest = decision.Request
			if failing {
				t.Status.LastImportAttempt = &v1.ImportAttempt{When: now, Succeed: true}
				t.MarkReady(now)
			}
		},
		events: malformedEvent(image),
	}
}

// recordWithoutRollout records a new generation and leaves the Tag where it stands.
func (r *Reconciler) recordWithoutRollout(ctx context.Context, tag *v1.Tag, decision generation.Decision, terms importer.Terms) (outcome, error) {
	terms.Generation = decision.Generation
	image, err := r.Importer.Import(ctx, tag, terms)
	if err != nil {
		return r.failed(ctx, tag, image, err, decision)
	}
	r.recordChecked(tag, decision)
	r.State.resetPrune(client.ObjectKeyFromObject(tag))
	ref := r.reference(tag, image, decision)
	return outcome{
		change: func(t *v1.Tag) {
			t.RecordGeneration(ref)
			t.Status.LastHandledRequest = decision.Request
		},
		events: slices.Concat(malformedEvent(image), mirroredEvent(image, ref.Generation), []pendingEvent{{
			corev1.EventTypeNormal, "Imported", "Import",
			fmt.Sprintf("generation %d is %s; the Tag stays at generation %d until somebody upgrades it", ref.Generation, ref.ImageReference, tag.WantedGeneration()),
		}}),
	}, nil
}

// failed records why an import failed. The generation in use stays. Faults of the API server are no failures of the import,
// and when it was not the Tag's turn there is nothing to say. Where the image is still on its way it says how far.
func (r *Reconciler) failed(ctx context.Context, tag *v1.Tag, image importer.Image, err error, decision generation.Decision) (outcome, error) {
	var postponed importer.Postponed
	if errors.As(err, &postponed) {
		r.hold(tag, postponed.Postponed())
		return outcome{}, nil
	}
	var underWay *importer.UnderWay
	if errors.As(err, &underWay) {
		return r.mirroring(ctx, tag, underWay, decision)
	}
	var failure importer.Failure
	if !errors.As(err, &failure) {
		return outcome{}, err
	}
	r.recordChecked(tag, decision)
	if wait := importer.RetryAfter(err); wait > 0 {
		r.hold(tag, generation.Spread(string(tag.UID), wait))
	}
	reason, message, now := failure.Reason(), v1.Truncate(failure.Error(), v1.MaxReasonLength), r.now()
	log.FromContext(ctx).Info("import failed", "generation", decision.Generation, "from", tag.Spec.From, "reason", reason, "error", message)
	return outcome{
		change: func(t *v1.Tag) {
			if importer.RetryAfter(err) > 0 && t.IsNotReadyWith(reason, message) {
				return // a registry that is left alone was not even asked
			}
			t.RecordFailure(reason, message, !reason.Retried(), now)
		},
		events: append(malformedEvent(image), pendingEvent{corev1.EventTypeWarning, "ImportFailed", "Import", fmt.Sprintf("%s: %s", reason, message)}),
	}, nil
}

// hold has the Tag's question wait.
func (r *Reconciler) hold(tag *v1.Tag, wait time.Duration) {
	now := r.Clock.Now()
	r.State.hold(client.ObjectKeyFromObject(tag), generation.RequestKey(tag), generation.Hold{Since: now, Until: now.Add(wait)})
}

// restored brings an emptied status back without asking the registry: its tag may have moved since.
func (r *Reconciler) restored(tag *v1.Tag) outcome {
	imports, _ := r.State.forgotten(tag) // which the decision is for
	now := r.now()
	return outcome{
		change: func(t *v1.Tag) { t.Restore(imports, now) },
		events: []pendingEvent{{corev1.EventTypeWarning, "StatusEmptied", "Restore", "somebody emptied the status; it is what it was before"}},
	}
}

func selected(decision generation.Decision, now metav1.Time) outcome {
	return outcome{
		change: func(t *v1.Tag) { t.Select(decision.Generation, now) },
		events: []pendingEvent{{corev1.EventTypeNormal, "Moved", "Move", fmt.Sprintf("workloads use generation %d", decision.Generation)}},
	}
}

func refreshed(now metav1.Time) outcome {
	return outcome{change: func(t *v1.Tag) { t.MarkReady(now) }}
}

func rejected(decision generation.Decision, now metav1.Time) outcome {
	return outcome{
		change: func(t *v1.Tag) { t.MarkNotReady(v1.ReasonUnknownGeneration, decision.Why, true, now) },
		events: []pendingEvent{{corev1.EventTypeWarning, string(v1.ReasonUnknownGeneration), "Move", decision.Why}},
	}
}

// bump asks admission for the next generation. Tagger does not write spec.generation itself: it would own the field.
func (r *Reconciler) bump(ctx context.Context, tag *v1.Tag, decision generation.Decision) error {
	wanted := tag.DeepCopy()
	apiaccess.SetAnnotation(wanted, v1.AnnotationRequestedGeneration, strconv.FormatInt(decision.Generation, 10))
	apiaccess.SetAnnotation(wanted, v1.AnnotationTrigger, generation.FormatTrigger(decision.Generation, decision.Trigger))
	wanted.MarkAdmitted()
	return r.patch(ctx, tag, wanted)
}

// adopt does by itself what admission was not called for.
func (r *Reconciler) adopt(ctx context.Context, tag *v1.Tag, decision generation.Decision) error {
	wanted := tag.DeepCopy()
	delete(wanted.Annotations, v1.AnnotationRequestedGeneration)
	if decision.Action == generation.Adopt {
		wanted.Spec.Generation = &decision.Generation
	}
	return r.patch(ctx, tag, wanted)
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

func (r *Reconciler) reference(tag *v1.Tag, image importer.Image, decision generation.Decision) v1.Reference {
	return v1.Reference{
		Generation:     decision.Generation,
		From:           tag.Spec.From,
		ImportedAt:     r.now(),
		ImageReference: image.Reference,
		Trigger:        decision.Trigger,
	}
}
