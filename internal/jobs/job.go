package jobs

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/images-io/tagger/internal/transfer"
)

// Kind is what a job does. A Tag has one job of each lane at most: a resolve, and a copy or a verification.
type Kind int

const (
	// Resolve asks a registry for a digest.
	Resolve Kind = iota
	// Copy copies an image into the internal registry.
	Copy
	// Verify checks an image in the internal registry that is in use already, and copies it where it is missing.
	Verify
)

// lane is the jobs of which a Tag has one.
type lane int

const (
	resolveLane lane = iota
	copyLane
	lanes
)

func (k Kind) lane() lane {
	if k == Resolve {
		return resolveLane
	}
	return copyLane
}

// Owner is the Tag that a job is for.
type Owner struct {
	types.NamespacedName
	UID types.UID
}

// Report is called with how far a job is, from any goroutine.
type Report func(transfer.Progress)

// Job is one piece of work for a Tag.
type Job struct {
	Kind Kind
	// Key is what the job is for. A job with another key takes its place.
	Key string
	// NotBefore is how fresh the result must be. A job that waits, or has ended, and asks for less makes way.
	NotBefore time.Time
	// Registry is the host that the source names.
	Registry string
	// Generation is that of the image that is copied.
	Generation int64
	// Run does the work, calls report with how far it is, and fills in Value. It must end when the context does.
	Run func(ctx context.Context, report Report) error
	// Value is the result. It may be read once the job has ended.
	Value any
	// Forgets reports whether the end of the job, with this error, also drops what Remember kept. Nil means no.
	Forgets func(error) bool
}

// Status is how far a job is.
type Status struct {
	// Done: the job has ended. The fields below Progress are zero before.
	Done bool
	// IsNew: no caller acknowledged the job yet.
	IsNew bool
	// Waits: other jobs are served first.
	Waits    bool
	Progress transfer.Progress
	Value    any
	Err      error
	// Began is when the job began to run, and Took how long it ran.
	Began time.Time
	Took  time.Duration
}

// deferred is an error that says that nothing was done, and how long to wait.
type deferred interface{ Deferred() time.Duration }

// unreachable is an error that tells whether the registry could be reached.
type unreachable interface {
	Unreachable() (unreachable, isKnown bool)
}

// task is a job in the queue: waiting, running or done.
type task struct {
	Job
	owner  Owner
	cancel context.CancelFunc // of one that runs
	status Status
	// movedAt is when a copy made its last step of progress, and moved how many bytes it had copied then.
	movedAt time.Time
	moved   int64
	// given: a caller has the result and has not acknowledged it yet.
	given bool
}
