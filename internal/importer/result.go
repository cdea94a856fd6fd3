package importer

import (
	"errors"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/jobs"
	"github.com/images-io/tagger/internal/transfer"
)

// State is how far an import, a check or a verification is.
type State int

const (
	// Done says that the result is complete.
	Done State = iota
	// InProgress says that a job runs, or waits for others. Its end enqueues the Tag.
	InProgress
	// Deferred says that nothing was done, because the registry is throttled.
	Deferred
)

// Result is what came of an import, a check or a verification.
type Result struct {
	State State
	// RetryAfter is how long to wait where the State is Deferred.
	RetryAfter time.Duration
	// Reference is the image by digest, as workloads get it, and Digest the image's own.
	Reference, Digest string
	// Malformed names the pull secrets that could not be read, or are too large.
	Malformed []error
	// Took is how long the registries took.
	Took time.Duration
	// Copy is what a copy or a verification did.
	Copy CopyResult
	// Mirroring is how far the copy is where the State is InProgress; nil while the image is resolved.
	Mirroring *Mirroring
}

// CopyResult is what a copy or a verification did, and when.
type CopyResult struct {
	transfer.CopyResult
	Began time.Time
	// Took does not include the time that the copy waited for others.
	Took time.Duration
	// Restored: the image was missing, and was copied again. Else only referrers were copied, if anything.
	Restored bool
}

// Mirroring is how far a copy is.
type Mirroring struct {
	// Image is what will be in the internal registry. The status has to list it before anything is there: until then the copy does not
	// begin.
	Image v1.MirroredImage
	// IsNew: no event reported the copy yet.
	IsNew bool
	// Waits: other images are copied first.
	Waits    bool
	Progress transfer.Progress
}

// String returns the text for a Tag's status.
func (m Mirroring) String() string {
	if m.Waits {
		return "mirroring, waits for other copies"
	}
	return m.Progress.String()
}

// Failure is an error that knows what it means for a Tag.
type Failure interface {
	error
	// Reason is the condition reason, and the value of the metric's label.
	Reason() v1.Reason
}

// Cause returns the exact cause of a failure for the manager's log, where the Tag's status must not show it; else an empty string.
func Cause(err error) string {
	var hidden interface{ Detail() string }
	if !errors.As(err, &hidden) {
		return ""
	}
	return hidden.Detail()
}

// RetryAfter returns how long not to retry after a failure; 0 when it does not say.
func RetryAfter(err error) time.Duration {
	var limited interface{ RetryAfter() time.Duration }
	if !errors.As(err, &limited) {
		return 0
	}
	return limited.RetryAfter()
}

type failure struct {
	reason v1.Reason
	error
}

func (f failure) Reason() v1.Reason { return f.reason }
func (f failure) Unwrap() error     { return f.error }

// stateOf returns the state of a job, and its error where it failed.
func stateOf(status jobs.Status) (Result, error) {
	var later interface{ Deferred() time.Duration }
	switch {
	case !status.Done:
		return Result{State: InProgress}, nil
	case errors.As(status.Err, &later):
		return Result{State: Deferred, RetryAfter: later.Deferred()}, nil
	default:
		return Result{State: Done, Took: status.Took}, status.Err
	}
}
