package tag

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/apiaccess"
	"github.com/images-io/tagger/controllers/tag/prune"
	"github.com/images-io/tagger/controllers/tag/state"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
)

// shortRequeue is when to look again at a Tag that may still need a step.
const shortRequeue = time.Second

// Importer finds the image of a Tag's source. Its errors are importer.Failures, or those of the API server.
type Importer interface {
	// Import returns the image for a new generation.
	Import(tag *v1.Tag, options importer.Options) (importer.Result, error)
	// Check only returns which image it is now.
	Check(tag *v1.Tag, options importer.Options) (importer.Result, error)
	// Verify checks whether the internal registry has a generation, and copies it there again where it does not, and what was attached to
	// it since.
	Verify(tag *v1.Tag, ref *v1.Reference) (importer.Result, error)
}

// Reconciler imports Tags and moves them between generations.
type Reconciler struct {
	Client client.Client
	// Live reads the API server, when a write shows that the cache is behind.
	Live     client.Reader
	Importer Importer
	Jobs     Jobs
	// Pruner deletes images from the internal registry.
	Pruner *prune.Pruner
	// VerifyInterval is how often the internal registry is asked for a generation in use.
	VerifyInterval time.Duration
	Events         events.EventRecorder
	Clock          clock.PassiveClock
	// State is what is known about Tags that is in no object.
	State *state.State

	refusals apiaccess.Refusals
}

// Jobs are the jobs for Tags. No worker waits for them.
type Jobs interface {
	// Ack says that the result that the importer gave last for a Tag is written down: it is not given again.
	Ack(tag client.ObjectKey)
	// CancelStale cancels the copy for a Tag that no longer wants it.
	CancelStale(owner jobs.Owner, wants func(generation int64, key string) bool)
	// Cancel cancels the jobs for a Tag, and returns whether its copies have ended.
	Cancel(tag client.ObjectKey) (ended bool)
	// InProgress reports whether a job waits or runs for a Tag.
	InProgress(tag client.ObjectKey, kind jobs.Kind) bool
	// Copying returns the generations whose images are being copied for the Tag.
	Copying(tag client.ObjectKey) []int64
	// OnEnd sets the function that is called with the Tag of each job that ends.
	OnEnd(ended func(tag client.ObjectKey))
}

func (r *Reconciler) now() metav1.Time { return metav1.NewTime(r.Clock.Now()) }
