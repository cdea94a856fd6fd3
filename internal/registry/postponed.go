package registry

import (
	"errors"
	"fmt"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
)

// Postponed is an error that says nothing about an image: it is not this question's turn at the registry, or the answer is
// still under way. Nothing is wrong, and there is nothing to tell anybody.
type Postponed struct {
	host, why string
	after     time.Duration
	// silent: the host does not answer, or not soon, so that another location may be asked instead.
	silent bool
}

// Error says why, for logs.
func (p *Postponed) Error() string { return fmt.Sprintf("%s is asked later: %s", p.host, p.why) }

// Postponed is when to ask again, with jitter in it.
func (p *Postponed) Postponed() time.Duration { return p.after }

func isPostponed(err error) bool {
	var postponed *Postponed
	return errors.As(err, &postponed)
}

// closedError says that a host is left alone for a while, whoever asks.
type closedError struct {
	host   string
	reason v1.Reason
	until  time.Time
	// isHidden: only the manager's log may say so.
	isHidden bool
}

func (e *closedError) Error() string {
	why := "it failed several times in a row"
	if e.reason == v1.ReasonRateLimited {
		why = "it asks to wait"
	}
	return fmt.Sprintf("%s is not asked before %s, because %s", e.host, untilText(e.until), why)
}

// untilText is a time in a status, never too early.
func untilText(until time.Time) string {
	return until.Add(time.Second - time.Nanosecond).UTC().Truncate(time.Second).Format(time.RFC3339)
}
