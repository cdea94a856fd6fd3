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
	// Remove takes a generation of a Tag away: its tag, and its manifests but those of the images of the same repository that are
	// kept, which are digests. What is gone already is no error; errors.Is(err, transfer.ErrDeletionForbidden) where the registry
	// does not delete, or is another one. It has a method Deferred while another request tries whether the registry works again.
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
	if found.postponed {
		return outcome{change: forgetMirrored(found.gone), remember: r.pruneAfter(name, deferredDelay)}, nil
	}
	failures := r.State.CountPruneFailures(name, len(found.failed) > 0)
	believed, isNews := r.State.RecordDeleteDenied(name, generationsOf(found.forbidden), r.Clock.Now())
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
		if len(found.left()) > 0 || len(found.forbidden) > len(believed) {
			r.State.PruneLater(name, r.Clock.Now())
		}
	}
	return result, nil
}

// pruneAfter makes another try due after a time.
func (r *Reconciler) pruneAfter(name client.ObjectKey, wait time.Duration) func() {
	return func() { r.State.PruneAt(name, r.Clock.Now().Add(wait)) }
}

// forgetMirrored is the change of the status that has generations gone, nil where none are.
func forgetMirrored(gone []int64) func(*v1.Tag) {
	if len(gone) == 0 {
		return nil
	}
	return func(t *v1.Tag) { t.ForgetMirrored(gone...) }
}

// pruneEvents are what an administrator may have to mend. The log has failures each time, the events once.
func pruneEvents(ctx context.Context, found pruneResult, fails, forbids bool) (events []pendingEvent) {
	if len(found.failed) > 0 {
		log.FromContext(ctx).Info("images cannot be removed from the internal registry", "images", found.failed)
	}
	if fails {
		events = append(events, pendingEvent{corev1.EventTypeWarning, "PruneFailed", "Prune",
			"cannot remove these images from the internal registry; Tagger retries: " + strings.Join(found.failed, "; ")})
	}
	if forbids {
		images := imagesOf(found.forbidden)
		log.FromContext(ctx).Info("the internal registry forbids deletion", "images", images)
		events = append(events, pendingEvent{corev1.EventTypeWarning, "DeletionForbidden", "Prune",
			"the internal registry forbids deletion, or is not the one that has these images; they stay: " + strings.Join(images, ", ")})
	}
	return events
}

// pruneResult are what became of images that were to be taken away.
type pruneResult struct {
	// gone are the generations that are not there any more.
	gone []int64
	// forbidden are those that the registry refuses to delete.
	forbidden []v1.MirroredImage
	// used are those that are still in use, and by whom; failed are those that could not be taken away, and why.
	used, failed []string
	// postponed: another request tries whether the registry works again, so that the rest was not tried.
	postponed bool
}

// left are those that another try is for.
func (f pruneResult) left() []string { return slices.Concat(f.used, f.failed) }

// pruneImages takes away those images that are not in use.
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
			found.postponed = true
			return found
		case err == nil:
			found.gone = append(found.gone, image.Generation)
		case errors.Is(err, transfer.ErrDeletionForbidden), errors.Is(err, transfer.ErrOtherRegistry):
			found.forbidden = append(found.forbidden, image)
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

// retained are the digests that stay in the Tag's repository when images go: those of all other generations, and what is used of it.
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

// maintenanceTimes are when the Tag's images in the internal registry are looked after. While one is on its way there, none is taken
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
