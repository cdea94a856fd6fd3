package throttle

import (
	"errors"
	"fmt"
	"time"
)

// ThrottledError says nothing about an image: a request has to wait, and was not sent.
type ThrottledError struct {
	Host string
	// RetryAfter is how long to wait, with jitter in it.
	RetryAfter time.Duration
	// IsFailing: the host failed before, so that another endpoint may be asked instead.
	IsFailing bool

	why string
}

// Error says why, for logs.
func (e *ThrottledError) Error() string { return fmt.Sprintf("%s is asked later: %s", e.Host, e.why) }

// Deferred returns how long to wait.
func (e *ThrottledError) Deferred() time.Duration { return e.RetryAfter }

// IsThrottled reports whether a request has to wait.
func IsThrottled(err error) bool {
	var throttled *ThrottledError
	return errors.As(err, &throttled)
}
