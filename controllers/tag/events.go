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

// notice is something to say about a Tag after its status was written.
type notice struct {
	kind, reason, action, note string
}

// malformed names the pull secrets that cannot be read, in one event: events of one reason about one object are counted,
// not kept apart.
func malformed(image importer.Image) []notice {
	if len(image.Malformed) == 0 {
		return nil
	}
	texts := make([]string, len(image.Malformed))
	for i, err := range image.Malformed {
		texts[i] = err.Error()
	}
	return []notice{{corev1.EventTypeWarning, "MalformedPullSecret", "Import", strings.Join(texts, "; ")}}
}

// announce says what happened, now that it is written. A failure is in the log already.
func (r *TagReconciler) announce(ctx context.Context, tag *v1.Tag, outcome outcome) {
	for _, e := range outcome.events {
		if e.kind == corev1.EventTypeNormal {
			log.FromContext(ctx).Info("tag moves", "reason", e.reason, "note", e.note)
		}
		r.Events.Eventf(tag, nil, e.kind, e.reason, e.action, "%s", v1.Truncate(e.note, v1.MaxReasonLength))
	}
}

// begins is the event of a copy that was put into the queue.
func begins(copy *importer.UnderWay, from string) []notice {
	if !copy.Begins {
		return nil
	}
	return []notice{{corev1.EventTypeNormal, "Mirroring", "Mirror", fmt.Sprintf("generation %d of %s is copied to %s", copy.Image.Generation, from, copy.Image.ImageReference)}}
}

// mirrored is the event of a copy that ended well.
func mirrored(image importer.Image, generation int64) []notice {
	if image.Copied.Took == 0 {
		return nil
	}
	return []notice{{corev1.EventTypeNormal, "Mirrored", "Mirror", fmt.Sprintf("generation %d is in the internal registry: %s", generation, spent(image.Copied))}}
}

func spent(copied importer.Copied) string {
	text := fmt.Sprintf("%d bytes sent, %d found there, %d mounted, in %.1f s", copied.Sent, copied.Found, copied.Mounted, copied.Took.Seconds())
	if copied.Missing != "" {
		text += "; attachments may be missing: " + copied.Missing
	}
	return text
}
