package registry

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

// Error is why a registry did not give what was asked. Its text is for the Tag's status: at most 1 KiB, printable,
// without credentials, and without what a host answers that is no registry.
type Error struct {
	reason     v1.Reason
	text       string
	retryAfter time.Duration
	cause      error
	// detail is what the text must not tell to who may write Tags; mostly empty.
	detail string
}

// newError makes an Error. The cause is for errors.Is and errors.As only: its text may hold anything.
func newError(reason v1.Reason, cause error, format string, args ...any) *Error {
	return &Error{reason: reason, text: bounded(fmt.Sprintf(format, args...)), cause: cause}
}

// Error says what happened, where, and what to do about it.
func (e *Error) Error() string { return e.text }

// Detail is the exact cause for the manager's log, where the text says only that a host cannot be reached; else it is empty. It must
// not reach a status or an event: it tells what listens in the cluster's networks.
func (e *Error) Detail() string { return e.detail }

// Unwrap is the error underneath, or nil. Its text must not reach a status, an event or a log.
func (e *Error) Unwrap() error { return e.cause }

// Reason is the condition reason, and the label of tagger_import_failures_total.
func (e *Error) Reason() v1.Reason { return e.reason }

// Terminal says that only an edit can cure it, of the Tag or of what the administrator allows. Everything else is worth
// another try.
func (e *Error) Terminal() bool { return !e.reason.Retried() }

// RetryAfter is how long the registry asks to be left alone (RFC 9110, section 10.2.3), at most a day; 0 when it does not say.
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// lean is an error to be kept: without what is underneath, whose size a host chooses, but for the network's own.
func lean(err error) error {
	var failure *Error
	if !errors.As(err, &failure) {
		return err
	}
	kept := *failure
	var closed *closedError
	var network *net.OpError
	switch {
	case errors.As(err, &closed):
		kept.cause = closed
	case errors.As(err, &network):
		kept.cause = &net.OpError{Op: network.Op, Net: network.Net, Addr: network.Addr, Err: errno(network)}
	default:
		kept.cause = nil
	}
	return &kept
}

// errno is what the system says of a failure, if it was the system.
func errno(err error) error {
	var said syscall.Errno
	if errors.As(err, &said) {
		return said
	}
	return errNetwork
}

// errNetwork is any other failure of the network.
var errNetwork = errors.New("the connection failed")

// adding is the same error with more text.
func (e *Error) adding(text string) *Error {
	more := *e
	more.text = bounded(e.text + text)
	return &more
}

// bounded makes text fit for a status, whatever a registry put into it.
func bounded(text string) string {
	printable := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	return v1.Truncate(printable, v1.MaxReasonLength)
}
