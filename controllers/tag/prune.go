package tag

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/imageuse"
	"github.com/images-io/tagger/controllers/tag/state"
	"github.com/images-io/tagger/internal/generation"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/transfer"
)

const (
	// pruneTimeout bounds one such try. It is longer than a registry is given for the header of its answer, so that one that says
	// nothing is known to fail, and is left alone.
	pruneTimeout = 20 * time.Second
	// failuresBeforeEvent is after how many failures in a row an event reports them: half a minute.
	failuresBeforeEvent = 5
	// deferredDelay is how long to wait while another request tries whether the registry works again, or another prune reads what the
	// namespace runs. Neither is a try.
	deferredDelay = 5 * time.Second
)

// Pruner takes images away from the internal registry.
type Pruner interface {
	// Remove deletes a generation of a Tag: its tag, and its manifests, except those of the digests in kept. It returns nil if they
	// are deleted already, transfer.ErrDeletionForbidden if the registry does not delete, and transfer.ErrOtherRegistry if the image
	// is in another registry. The error has a method Deferred while another request checks whether the registry works again.
	Remove(ctx context.Context, tag *v1.Tag, image v1.MirroredImage, kept []string) error
}

// prune takes away from the internal registry what left the history, and what no workload uses any more, nor another Tag. The
// Tags and the workloads are read live: a cache that is behind must not take anything away.
func (r *Reconciler) prune(ctx context.Context, tag *v1.Tag) (outcome, error) {
	name := client.ObjectKeyFromObject(tag)
	live, err := r.refetchUnchanged(ctx, tag)
	if err != nil || live == nil {
		return outcome{remember: func() { r.State.PruneLater(name, r.Clock.Now()) }}, client.IgnoreNotFound(err)
	}
	used, err := r.usedImages(ctx, tag)
	if err != nil {
		return outcome{}, err
	}
	if used == nil {
		return outcome{remember: r.pruneAfter(name, deferredDelay)}, nil
	}
	found := r.pruneImages(ctx, live, live.Unreferenced(), used)
	if found.deferred {
		return outcome{change: forgetMirrored(found.gone), remember: r.pruneAfter(name, deferredDelay)}, nil
	}
	failures := r.State.CountPruneFailures(name, len(found.failed) > 0)
	believed, isNews := r.State.RecordDeleteDenied(name, generationsOf(found.denied()), r.Clock.Now())
	result := outcome{events: pruneEvents(ctx, found, failures == failuresBeforeEvent, isNews)}
	gone := slices.Concat(found.gone, believed)
	if len(gone) > 0 {
		result.change = forgetMirrored(gone)
	}
	result.remember = func() {
		r.State.ForgetDenied(name, believed)
		if len(gone) > 0 { // it makes progress
			r.State.ResetPrune(name)
		}
		if len(found.left()) > 0 || len(found.denied()) > len(believed) {
			r.State.PruneLater(name, r.Clock.Now())
		}
	}
	return result, nil
}

// pruneAfter makes another try due after a time.
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
func pruneEvents(ctx context.Context, found pruneResult, fails, denied bool) (events []pendingEvent) {
	if len(found.failed) > 0 {
		log.FromContext(ctx).Info("images cannot be removed from the internal registry", "images", found.failed)
	}
	if fails {
		events = append(events, pendingEvent{corev1.EventTypeWarning, "PruneFailed", "Prune",
			"cannot remove these images from the internal registry; Tagger retries: " + strings.Join(found.failed, "; ")})
	}
	if !denied {
		return events
	}
	for _, group := range []struct {
		text   string
		images []v1.MirroredImage
	}{
		{"the internal registry forbids deletion; these images stay", found.forbidden},
		{"these images are not in the internal registry that is configured, so Tagger does not remove them", found.elsewhere},
	} {
		if images := imagesOf(group.images); len(images) > 0 {
			log.FromContext(ctx).Info(group.text, "images", images)
			events = append(events, pendingEvent{corev1.EventTypeWarning, "DeletionForbidden", "Prune", group.text + ": " + strings.Join(images, ", ")})
		}
	}
	return events
}

// pruneResult is the result of deleting images from the internal registry.
type pruneResult struct {
	// gone are the generations that the registry does not have any more.
	gone []int64
	// forbidden are those that the registry refuses to delete.
	forbidden []v1.MirroredImage
	// elsewhere are those of another registry than the one that is configured.
	elsewhere []v1.MirroredImage
	// used are those that are still in use, with their users; failed are those that could not be deleted, with the error.
	used, failed []string
	// deferred reports that another request checks whether the registry works again, so the other images were not tried.
	deferred bool
}

// left returns the images that a later attempt may delete.
func (f pruneResult) left() []string { return slices.Concat(f.used, f.failed) }

// denied returns the images that Tagger cannot delete.
func (f pruneResult) denied() []v1.MirroredImage { return slices.Concat(f.forbidden, f.elsewhere) }

// pruneImages deletes those images that are not in use.
func (r *Reconciler) pruneImages(ctx context.Context, tag *v1.Tag, images []v1.MirroredImage, used map[string]string) pruneResult {
	ctx, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	var found pruneResult
	imageuse.MarkUseByTag(used, tag)
	kept := retained(tag, images, used)
	for _, image := range images {
		if who, isUsed := used[imageuse.MirrorKey(image.ImageReference)]; isUsed {
			found.used = append(found.used, fmt.Sprintf("%s, which %s uses", image.ImageReference, who))
			continue
		}
		err := r.Pruner.Remove(ctx, tag, image, kept)
		var later interface{ Deferred() time.Duration }
		switch {
		case errors.As(err, &later):
			found.deferred = true
			return found
		case err == nil:
			found.gone = append(found.gone, image.Generation)
		case errors.Is(err, transfer.ErrDeletionForbidden):
			found.forbidden = append(found.forbidden, image)
		case errors.Is(err, transfer.ErrOtherRegistry):
			found.elsewhere = append(found.elsewhere, image)
		default:
			found.failed = append(found.failed, fmt.Sprintf("%s: %v", image.ImageReference, describeTimeout(err)))
		}
	}
	return found
}

// describeTimeout says in words that the time for a try was over; any other error is itself.
func describeTimeout(err error) error {
	var failure importer.Failure
	if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &failure) {
		return fmt.Errorf("it is not done within %s", pruneTimeout)
	}
	return err
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

// retained returns the digests that stay in the Tag's repository when images go: those of all other generations, and what is used of it.
func retained(tag *v1.Tag, images []v1.MirroredImage, used map[string]string) []string {
	needed := sets.KeySet(used)
	for _, other := range tag.Status.Mirrored {
		if !slices.Contains(images, other) {
			needed.Insert(imageuse.MirrorKey(other.ImageReference))
		}
	}
	var digests []string
	for _, name := range sets.List(needed) {
		if digest, isHere := strings.CutPrefix(name, tag.Namespace+"/"+tag.Name+"@"); isHere {
			digests = append(digests, digest)
		}
	}
	return digests
}

// maintenanceTimes returns when the Tag's images in the internal registry are looked after. While one is on its way there, none is taken
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
