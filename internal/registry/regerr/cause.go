package regerr

import (
	"errors"
	"fmt"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
)

// Cause is an error with a reason and a text that are known where it occurs. Classify says which image it is about.
type Cause struct {
	reason v1.Reason
	text   string
	// isHost: the text is about the host that was contacted.
	isHost bool
	// isReference: the reference may be wrong, so that Classify names the setting to check.
	isReference bool
}

// Error returns the text.
func (c *Cause) Error() string { return c.text }

// Content makes the Cause of content that Tagger refuses. The text continues "what the registry sends".
func Content(format string, args ...any) *Cause {
	return &Cause{reason: v1.ReasonInvalidContent, text: fmt.Sprintf(format, args...)}
}

// NotContent returns what Content does, where the reference may name something else than an image.
func NotContent(format string, args ...any) *Cause {
	return &Cause{reason: v1.ReasonInvalidContent, text: fmt.Sprintf(format, args...), isReference: true}
}

// Unreachable makes the Cause of a host that does not respond as it should. The text continues "the host cannot be reached".
func Unreachable(format string, args ...any) *Cause {
	return &Cause{reason: v1.ReasonUnavailable, text: fmt.Sprintf(format, args...), isHost: true}
}

// Unavailable makes the Cause of a response that ends too early.
func Unavailable(format string, args ...any) *Cause {
	return &Cause{reason: v1.ReasonUnavailable, text: fmt.Sprintf(format, args...)}
}

// RefusedHostError refuses a host. It names what was requested, and nothing of what was found there.
type RefusedHostError struct{ Host string }

// Error implements error.
func (e *RefusedHostError) Error() string { return "connections to " + e.Host + " are not allowed" }

// PlainHTTPError refuses a request by plain HTTP to a host that is not listed as insecure.
type PlainHTTPError struct{ Host string }

// Error implements error.
func (e *PlainHTTPError) Error() string { return "plain HTTP to " + e.Host + " is not allowed" }

// HiddenError is a failure at a host that is neither public nor listed. A tenant must not learn from it what listens where in the
// cluster's networks: all such failures have one reason and one text, and the manager's log has the exact one.
type HiddenError struct{ error }

// Hide wraps a failure at such a host.
func Hide(err error) *HiddenError { return &HiddenError{err} }

// Unwrap returns the exact failure.
func (e *HiddenError) Unwrap() error { return e.error }

// Timeout reports whether the failure is a timeout. url.Error looks for it here, and no deeper.
func (e *HiddenError) Timeout() bool { return IsTimeout(e.error) }

// HintError is an error with a hint, which Classify adds to its text.
type HintError struct {
	error
	hint string
}

// WithHint returns the error with a hint.
func WithHint(err error, hint string) error { return &HintError{err, hint} }

// Unwrap returns the error underneath.
func (e *HintError) Unwrap() error { return e.error }

// PausedError says that a host is not asked for a while.
type PausedError struct {
	Host   string
	Reason v1.Reason
	Until  time.Time
	// IsHidden: only the manager's log may say so.
	IsHidden bool
}

// Error says until when, and why.
func (e *PausedError) Error() string {
	why := "it failed several times in a row"
	if e.Reason == v1.ReasonRateLimited {
		why = "it asks to wait"
	}
	return fmt.Sprintf("%s is not asked before %s, because %s", e.Host, formatTime(e.Until), why)
}

// About returns the error about an image, to be retried after the wait.
func (e *PausedError) About(subject Subject, wait time.Duration) *Error {
	if e.IsHidden {
		return hidden(e, subject, e.Host, subject.Text+": "+e.Error()).with(unknown)
	}
	refused := New(e.Reason, e, "%s: %s", subject.Text, e)
	refused.retryAfter = wait
	return refused
}

// formatTime writes a time for a status, never too early.
func formatTime(until time.Time) string {
	return until.Add(time.Second - time.Nanosecond).UTC().Truncate(time.Second).Format(time.RFC3339)
}

var (
	// ErrUploadStalled is the end of an upload that the internal registry does not take.
	ErrUploadStalled = Unreachable("it stopped in the middle of what it is sent")
	// ErrAtSource is the end of an upload whose content failed: the internal registry is not at fault.
	ErrAtSource = errors.New("the source failed")
)
