package tag

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/tag/prune"
)

const (
	// failuresBeforeEvent is after how many failures in a row an event reports them: half a minute.
	failuresBeforeEvent = 5
	// deferredDelay is how long to wait while another request checks whether the registry works again, or another prune reads what
	// its namespace uses. Neither is an attempt.
	deferredDelay = 5 * time.Second
)

// prune deletes from the internal registry what left the history and is not in use.
func (r *Reconciler) prune(ctx context.Context, tag *v1.Tag) (outcome, error) {
	name := client.ObjectKeyFromObject(tag)
	live, err := r.refetchUnchanged(ctx, tag)
	if err != nil || live == nil {
		return outcome{remember: func() { r.State.PruneLater(name, r.Clock.Now()) }}, client.IgnoreNotFound(err)
	}
	found, err := r.Pruner.Prune(ctx, live, live.Unreferenced())
	switch {
	case errors.Is(err, prune.ErrBusy):
		return outcome{remember: r.pruneAfter(name, deferredDelay)}, nil
	case err != nil:
		return outcome{}, err
	case found.Deferred:
		return outcome{change: forgetMirrored(found.Gone), remember: r.pruneAfter(name, deferredDelay)}, nil
	}
	failures := r.State.CountPruneFailures(name, len(found.Failed) > 0)
	believed, isNews := r.State.RecordDeleteDenied(name, generationsOf(found.Denied()), r.Clock.Now())
	gone := slices.Concat(found.Gone, believed)
	return outcome{
		events: pruneEvents(ctx, found, failures == failuresBeforeEvent, isNews),
		change: forgetMirrored(gone),
		remember: func() {
			r.State.ForgetDenied(name, believed)
			if len(gone) > 0 { // it makes progress
				r.State.ResetPrune(name)
			}
			if len(found.Left()) > 0 || len(found.Denied()) > len(believed) {
				r.State.PruneLater(name, r.Clock.Now())
			}
		},
	}, nil
}

// pruneAfter makes another attempt due after a time.
func (r *Reconciler) pruneAfter(name client.ObjectKey, wait time.Duration) func() {
	return func() { r.State.PruneAt(name, r.Clock.Now().Add(wait)) }
}

// forgetMirrored returns the change of the status that has generations gone, nil where none are.
func forgetMirrored(gone []int64) func(*v1.Tag) {
	if len(gone) == 0 {
		return nil
	}
	return func(t *v1.Tag) { t.ForgetMirrored(gone...) }
}

// pruneEvents returns what an administrator may have to fix. Tagger logs each failure, and emits an event once: for failures if
// fails is set, for images that cannot be deleted if denied is set.
func pruneEvents(ctx context.Context, found prune.Result, fails, denied bool) (events []pendingEvent) {
	if len(found.Failed) > 0 {
		log.FromContext(ctx).Info("images cannot be removed from the internal registry", "images", found.Failed)
	}
	if fails {
		events = append(events, pendingEvent{corev1.EventTypeWarning, "PruneFailed", "Prune",
			"cannot remove these images from the internal registry; Tagger retries: " + strings.Join(found.Failed, "; ")})
	}
	if !denied {
		return events
	}
	for _, group := range []struct {
		text   string
		images []v1.MirroredImage
	}{
		{"the internal registry forbids deletion; these images stay", found.Forbidden},
		{"these images are not in the internal registry that is configured, so Tagger does not remove them", found.Elsewhere},
	} {
		if images := imagesOf(group.images); len(images) > 0 {
			log.FromContext(ctx).Info(group.text, "images", images)
			events = append(events, pendingEvent{corev1.EventTypeWarning, "DeletionForbidden", "Prune", group.text + ": " + strings.Join(images, ", ")})
		}
	}
	return events
}

func generationsOf(images []v1.MirroredImage) (generations []int64) {
	for _, image := range images {
		generations = append(generations, image.Generation)
	}
	return generations
}

func imagesOf(images []v1.MirroredImage) (references []string) {
	for _, image := range images {
		references = append(references, image.ImageReference)
	}
	return references
}
