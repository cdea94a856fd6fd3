package tag

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/apiaccess"
	"github.com/images-io/tagger/internal/generation"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
)

// importGeneration imports the generation wanted and moves the Tag to it.
func (r *Reconciler) importGeneration(ctx context.Context, tag *v1.Tag, decision generation.Decision) (outcome, error) {
	image, err := r.Importer.Import(tag, r.options(tag, decision))
	if err != nil || image.State != importer.Done {
		return r.unfinished(ctx, tag, image, err, decision)
	}
	name, ref := client.ObjectKeyFromObject(tag), r.reference(tag, image, decision)
	return outcome{
		remember: func() {
			r.recordChecked(tag, decision)
			r.State.ResetPrune(name)
			switch {
			case decision.Request != tag.Status.LastHandledRequest: // the image may have been signed while it was copied
				r.State.CheckRequested(name, r.Clock.Now())
			case image.Copy.Missing != "":
				r.State.VerifyAt(name, r.verifyNext(tag, image.Copy.Missing))
			}
		},
		change: func(t *v1.Tag) {
			t.RecordImport(ref)
			t.Status.LastHandledRequest = decision.Request
			if t.CurrentMirrored() != nil {
				t.MarkMirrored(image.Copy.Missing, ref.ImportedAt)
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
	options := r.options(tag, decision)
	image, err := r.Importer.Check(tag, options)
	newest := tag.Newest()
	next := generation.Decision{Generation: newest.Generation + 1, Trigger: decision.Trigger, Request: decision.Request}
	switch {
	case err != nil || image.State != importer.Done:
		return r.unfinished(ctx, tag, image, err, decision)
	case generation.SameDigest(newest, image.Digest):
		return r.unchanged(tag, image, decision), nil
	case tag.WantedGeneration() < newest.Generation:
		return r.recordWithoutRollout(ctx, tag, next, options)
	default:
		return outcome{events: malformedEvent(image), remember: func() { r.recordChecked(tag, decision) }}, r.bump(ctx, tag, next)
	}
}

// options returns those of a request, whose digest must not be older than the request, or of a poll.
func (r *Reconciler) options(tag *v1.Tag, decision generation.Decision) importer.Options {
	options := importer.Options{NotBefore: decision.NotBefore, Poll: decision.IsPoll(), RequestKey: generation.RequestKey(tag), Generation: decision.Generation}
	if options.NotBefore.IsZero() {
		options.NotBefore = r.State.Wanted(client.ObjectKeyFromObject(tag), generation.RequestKey(tag), r.Clock.Now())
	}
	return options
}

// recordChecked records that the registry responded, also with a failure.
func (r *Reconciler) recordChecked(tag *v1.Tag, decision generation.Decision) {
	r.State.RecordChecked(client.ObjectKeyFromObject(tag), r.Clock.Now(), decision.Request)
}

// unchanged records that a request was handled, and that a failure is over; else there is nothing to write.
func (r *Reconciler) unchanged(tag *v1.Tag, image importer.Result, decision generation.Decision) outcome {
	now, failing := r.now(), !tag.IsReady()
	return outcome{
		remember: func() {
			r.recordChecked(tag, decision)
			if !decision.IsPoll() { // the image may have been signed
				r.State.CheckRequested(client.ObjectKeyFromObject(tag), r.Clock.Now())
			}
			if strings.HasPrefix(decision.Request, v1.PushRequestPrefix) && decision.Request != tag.Status.LastHandledRequest {
				r.State.RepeatAt(client.ObjectKeyFromObject(tag), r.Clock.Now().Add(generation.RepeatPushAfter))
			}
		},
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
func (r *Reconciler) recordWithoutRollout(ctx context.Context, tag *v1.Tag, decision generation.Decision, options importer.Options) (outcome, error) {
	options.Generation = decision.Generation
	image, err := r.Importer.Import(tag, options)
	if err != nil || image.State != importer.Done {
		return r.unfinished(ctx, tag, image, err, decision)
	}
	ref := r.reference(tag, image, decision)
	return outcome{
		remember: func() {
			r.recordChecked(tag, decision)
			r.State.ResetPrune(client.ObjectKeyFromObject(tag))
		},
		change: func(t *v1.Tag) {
			t.RecordGeneration(ref)
			t.Status.LastHandledRequest = decision.Request
		},
		events: slices.Concat(malformedEvent(image), mirroredEvent(image, ref.Generation), []pendingEvent{{
			corev1.EventTypeNormal, "Imported", "Import",
			fmt.Sprintf("generation %d is %s; the Tag stays at generation %d until a user upgrades it", ref.Generation, ref.ImageReference, tag.WantedGeneration()),
		}}),
	}, nil
}

// unfinished returns the outcome of an import that is in progress, is deferred or failed. The generation in use stays.
func (r *Reconciler) unfinished(ctx context.Context, tag *v1.Tag, image importer.Result, err error, decision generation.Decision) (outcome, error) {
	switch {
	case err != nil:
		return r.failed(ctx, tag, image, err, decision)
	case image.State == importer.Deferred:
		return outcome{remember: func() { r.hold(tag, image.RetryAfter) }}, nil
	case image.Mirroring != nil:
		return r.mirroring(ctx, tag, *image.Mirroring, decision)
	default:
		return outcome{remember: func() { r.holdForJob(tag, jobs.Resolve, resolveTimeout) }}, nil
	}
}

// failed records why an import failed. Faults of the API server are not failures of the import.
func (r *Reconciler) failed(ctx context.Context, tag *v1.Tag, image importer.Result, err error, decision generation.Decision) (outcome, error) {
	var failure importer.Failure
	if !errors.As(err, &failure) {
		return outcome{}, err
	}
	reason, message, now := failure.Reason(), v1.Truncate(failure.Error(), v1.MaxReasonLength), r.now()
	log.FromContext(ctx).Info("import failed", "generation", decision.Generation, "from", tag.Spec.From, "reason", reason, "error", message, "cause", importer.Cause(err))
	return outcome{
		remember: func() {
			r.recordChecked(tag, decision)
			if wait := importer.RetryAfter(err); wait > 0 {
				r.hold(tag, generation.Spread(string(tag.UID), wait))
			}
		},
		change: func(t *v1.Tag) {
			if importer.RetryAfter(err) > 0 && t.IsNotReadyWith(reason, message) {
				return // a registry that is throttled was not asked
			}
			t.RecordFailure(reason, message, !reason.Retried(), now)
		},
		events: append(malformedEvent(image), pendingEvent{corev1.EventTypeWarning, "ImportFailed", "Import", fmt.Sprintf("%s: %s", reason, message)}),
	}, nil
}

func selected(decision generation.Decision, now metav1.Time) outcome {
	return outcome{
		change: func(t *v1.Tag) { t.Select(decision.Generation, now) },
		events: []pendingEvent{{corev1.EventTypeNormal, "GenerationSelected", "Select", fmt.Sprintf("workloads use generation %d", decision.Generation)}},
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

func (r *Reconciler) reference(tag *v1.Tag, image importer.Result, decision generation.Decision) v1.Reference {
	return v1.Reference{
		Generation:     decision.Generation,
		From:           tag.Spec.From,
		ImportedAt:     r.now(),
		ImageReference: image.Reference,
		Trigger:        decision.Trigger,
	}
}
