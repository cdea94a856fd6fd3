package tag

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/importer"
)

// malformedEvent names the pull secrets that cannot be read, in one event: events of one reason about one object are counted,
// not kept apart.
func malformedEvent(image importer.Result) []pendingEvent {
	if len(image.Malformed) == 0 {
		return nil
	}
	texts := make([]string, len(image.Malformed))
	for i, err := range image.Malformed {
		texts[i] = err.Error()
	}
	return []pendingEvent{{corev1.EventTypeWarning, "MalformedPullSecret", "Import", strings.Join(texts, "; ")}}
}

// emit says what happened, now that it is written. A failure is in the log already.
func (r *Reconciler) emit(ctx context.Context, tag *v1.Tag, outcome outcome) {
	for _, e := range outcome.events {
		if e.kind == corev1.EventTypeNormal {
			log.FromContext(ctx).Info("tag moves", "reason", e.reason, "note", e.note)
		}
		r.Events.Eventf(tag, nil, e.kind, e.reason, e.action, "%s", v1.Truncate(e.note, v1.MaxReasonLength))
	}
}

// mirroringEvent returns the event of a copy that was put into the queue.
func mirroringEvent(copy importer.Mirroring, from string) []pendingEvent {
	if !copy.IsNew {
		return nil
	}
	return []pendingEvent{{corev1.EventTypeNormal, "Mirroring", "Mirror", fmt.Sprintf("generation %d of %s is copied to %s", copy.Image.Generation, from, copy.Image.ImageReference)}}
}

// mirroredEvent returns the event of a copy that ended well.
func mirroredEvent(image importer.Result, generation int64) []pendingEvent {
	if image.Copy.Took == 0 {
		return nil
	}
	return []pendingEvent{{corev1.EventTypeNormal, "Mirrored", "Mirror", fmt.Sprintf("generation %d is in the internal registry: %s", generation, copySummary(image.Copy))}}
}

func copySummary(copied importer.CopyResult) string {
	text := fmt.Sprintf("%d bytes sent, %d found there, %d mounted, in %.1f s", copied.Uploaded, copied.Skipped, copied.Mounted, copied.Took.Seconds())
	if copied.Missing != "" {
		text += "; attachments may be missing: " + copied.Missing
	}
	return text
}
