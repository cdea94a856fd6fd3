package regerr

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
	"unicode"

	v1 "github.com/images-io/tagger/api/v1"
)

// Error is why a registry did not do what was requested. Its text is for the Tag's status: at most 1 KiB, printable, without credentials,
// and without what a host sends that is not a registry.
type Error struct {
	reason     v1.Reason
	text       string
	retryAfter time.Duration
	cause      error
	detail     string
	contact    contact
}

// contact is whether the host could be reached.
type contact int

const (
	unknown contact = iota
	reached
	failed
)

// Unreachable reports whether the host could not be reached, and whether that is known: a failure to connect and a timeout say so, and a
// response says the opposite.
func (e *Error) Unreachable() (unreachable, isKnown bool) {
	return e.contact == failed, e.contact != unknown
}

// New makes an Error. The cause is for errors.Is and errors.As only: its text may hold anything.
func New(reason v1.Reason, cause error, format string, args ...any) *Error {
	return &Error{reason: reason, text: sanitize(fmt.Sprintf(format, args...)), cause: cause}
}

// Error says what happened, where, and what to do about it.
func (e *Error) Error() string { return e.text }

// Detail returns the exact cause for the manager's log, where the text says only that a host cannot be reached; else it is empty. It must
// not reach a status or an event: it tells what listens in the cluster's networks.
func (e *Error) Detail() string { return e.detail }

// Unwrap returns the error underneath, or nil. Its text must not reach a status, an event or a log.
func (e *Error) Unwrap() error { return e.cause }

// Reason returns the condition reason, which is also the label of tagger_import_failures_total.
func (e *Error) Reason() v1.Reason { return e.reason }

// Terminal reports whether only an edit cures it, of the Tag or of what the administrator allows. Everything else is worth another try.
func (e *Error) Terminal() bool { return !e.reason.Retried() }

// RetryAfter returns how long the host is not to be asked (RFC 9110, section 10.2.3), at most a day; 0 when it does not say.
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// WithReason returns the error with another reason. The error itself is its cause.
func (e *Error) WithReason(reason v1.Reason) *Error {
	other := *e
	other.reason, other.cause = reason, e
	return &other
}

// Until returns the error with the time before which the host is not asked.
func (e *Error) Until(until time.Time, wait time.Duration) *Error {
	other := e.withText("; it is not asked before " + formatTime(until))
	other.retryAfter = wait
	return other
}

// withText returns the error with more text.
func (e *Error) withText(text string) *Error {
	other := *e
	other.text = sanitize(e.text + text)
	return &other
}

// with returns the error with whether the host could be reached.
func (e *Error) with(contact contact) *Error {
	e.contact = contact
	return e
}

// WithText returns an *Error with more text, and any other error as it is.
func WithText(err error, text string) error {
	var failure *Error
	if !errors.As(err, &failure) {
		return err
	}
	return failure.withText(text)
}

// WithCause returns an *Error with one more cause, and any other error as it is.
func WithCause(err, cause error) error {
	var failure *Error
	if !errors.As(err, &failure) {
		return err
	}
	other := *failure
	other.cause = errors.Join(cause, failure.cause)
	return &other
}

// WithoutCause returns an error to be kept: without its causes, whose size a host chooses, but for failures of the network.
func WithoutCause(err error) error {
	var failure *Error
	if !errors.As(err, &failure) {
		return err
	}
	kept := *failure
	var paused *PausedError
	var network *net.OpError
	switch {
	case errors.As(err, &paused):
		kept.cause = paused
	case errors.As(err, &network):
		kept.cause = &net.OpError{Op: network.Op, Net: network.Net, Addr: network.Addr, Err: errno(network)}
	default:
		kept.cause = nil
	}
	return &kept
}

// errno returns the error of the system, if there is one.
func errno(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return errNetwork
}

// errNetwork is any other failure of the network.
var errNetwork = errors.New("the connection failed")

// sanitize makes text fit for a status, whatever a registry put into it.
func sanitize(text string) string {
	printable := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	return v1.Truncate(printable, v1.MaxReasonLength)
}
