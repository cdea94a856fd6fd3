package tag

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/workqueue"
	"github.com/images-io/tagger/controllers/tag/state"
	"github.com/images-io/tagger/internal/generation"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
)

// attachmentsRetry is how long to wait, at most, before attachments that are missing in the internal registry are looked for again.
const attachmentsRetry = 10 * time.Minute

// resolveTimeout is when to look at a Tag again whose resolve has not ended. The end of the resolve enqueues the Tag before.
const resolveTimeout = time.Minute

// finishedJobs enqueues Tags whose job has a result.
func (r *Reconciler) finishedJobs() source.Source {
	return source.Func(func(_ context.Context, q workqueue.Queue) error {
		r.Jobs.OnEnd(func(tag client.ObjectKey) {
			r.State.JobEnded(tag)
			workqueue.Enqueue(q, workqueue.FreshPriority, []ctrl.Request{{NamespacedName: tag}})
		})
		return nil
	})
}

// mirroring remembers what is about to be in the internal registry, before anything is, and says how far the copy is. It
// leaves the generation in use where it is, and the last attempt: this is none yet.
func (r *Reconciler) mirroring(ctx context.Context, tag *v1.Tag, copy importer.Mirroring, decision generation.Decision) (outcome, error) {
	result := outcome{events: mirroringEvent(copy, tag.Spec.From)}
	remembered := tag.Mirrors(copy.Image)
	if !remembered {
		if err := r.ensureFinalizer(ctx, tag); err != nil {
			return outcome{}, err
		}
	} else {
		result.remember = func() { r.holdForJob(tag, jobs.Copy, state.ProgressInterval) }
	}
	now, isWanted := r.now(), decision.Action == generation.Import
	if remembered && !isWanted {
		return result, nil
	}
	result.change = func(t *v1.Tag) {
		if !remembered {
			t.RecordMirroring(copy.Image)
		}
		if isWanted {
			t.MarkMirroring(copy.String(), now)
		}
	}
	return result, nil
}

// verify sees whether the internal registry has the generation in use, and has it copied again where it does not, and what was attached to
// it since.
func (r *Reconciler) verify(ctx context.Context, tag *v1.Tag) (outcome, error) {
	name, ref, now := client.ObjectKeyFromObject(tag), tag.CurrentMirrored(), r.now()
	result, err := r.Importer.Verify(tag, ref)
	var failure importer.Failure
	switch {
	case errors.As(err, &failure):
		failed := verifyFailed(ctx, tag, failure, now)
		failed.remember = r.verifyAfter(name, max(generation.VerifyAgain(r.VerifyInterval), importer.RetryAfter(err)))
		return failed, nil
	case err != nil:
		return outcome{}, err
	case result.State == importer.Deferred:
		return outcome{remember: r.verifyAfter(name, result.RetryAfter)}, nil
	case result.State == importer.InProgress:
		waiting := outcome{remember: r.verifyAfter(name, state.ProgressInterval)}
		if result.Mirroring.Progress.Blobs > 0 { // it is not known before whether the image is there
			message := "the internal registry lost the generation in use: " + result.Mirroring.String()
			waiting.change = func(t *v1.Tag) { t.MarkNotMirrored(v1.ReasonMirroring, message, now) }
		}
		return waiting, nil
	default:
		done := verified(tag, ref, result.Copy, now)
		done.remember = func() { r.State.VerifiedSince(name, result.Copy.Began, r.verifyNext(tag, result.Copy.Missing)) }
		return done, nil
	}
}

// verifyAfter makes the generation in use due for verification after a time.
func (r *Reconciler) verifyAfter(name client.ObjectKey, wait time.Duration) func() {
	return func() { r.State.VerifyAt(name, r.Clock.Now().Add(wait)) }
}

// verifyNext returns when to verify again: once sooner where attachments are missing, since they may be there by then.
func (r *Reconciler) verifyNext(tag *v1.Tag, missing string) time.Time {
	next := generation.NextPoll(string(tag.UID), r.VerifyInterval, r.Clock.Now())
	if soon := r.Clock.Now().Add(attachmentsRetry); missing != "" && !tag.MayLackAttachments() && soon.Before(next) {
		return soon
	}
	return next
}

// verified returns the outcome of a verification that ended well.
func verified(tag *v1.Tag, ref *v1.Reference, copied importer.CopyResult, now metav1.Time) outcome {
	var result outcome
	marked := tag.DeepCopy()
	if marked.MarkMirrored(copied.Missing, now); !equality.Semantic.DeepEqual(tag.Status, marked.Status) {
		result.change = func(t *v1.Tag) { t.MarkMirrored(copied.Missing, now) }
	}
	switch {
	case copied.Restored:
		result.events = []pendingEvent{{corev1.EventTypeNormal, "MirroredAgain", "Mirror", fmt.Sprintf("generation %d was missing and is there again: %s", ref.Generation, copySummary(copied))}}
	case copied.Attachments > 0:
		result.events = []pendingEvent{{corev1.EventTypeNormal, "AttachmentsMirrored", "Mirror", fmt.Sprintf("what was attached to generation %d since is in the internal registry: %s", ref.Generation, copySummary(copied))}}
	}
	return result
}

// verifyFailed says why a generation in use is missing, once, and changes nothing else.
func verifyFailed(ctx context.Context, tag *v1.Tag, failure importer.Failure, now metav1.Time) outcome {
	message := failure.Error()
	if failure.Reason() != v1.ReasonMirrorUnavailable && failure.Reason() != v1.ReasonMirrorNotConfigured {
		message = "the internal registry lost the generation in use, and its source fails: " + message
	}
	message = v1.Truncate(message, v1.MaxReasonLength)
	log.FromContext(ctx).Info("mirrored image cannot be verified", "reason", failure.Reason(), "error", message, "cause", importer.Cause(failure))
	return outcome{
		change: func(t *v1.Tag) { t.MarkNotMirrored(failure.Reason(), message, now) },
		events: []pendingEvent{{corev1.EventTypeWarning, "MirrorVerifyFailed", "Mirror", fmt.Sprintf("%s: %s", failure.Reason(), message)}},
	}
}
