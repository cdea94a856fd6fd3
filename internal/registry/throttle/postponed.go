package throttle

import (
	"errors"
	"fmt"
	"time"
)

// Postponed is an error that says nothing about an image: it is not this question's turn at the registry, or the answer is
// still under way. Nothing is wrong, and there is nothing to tell anybody.
type Postponed struct {
	host, why string
	After     time.Duration
	// Silent: the host does not answer, or not soon, so that another location may be asked instead.
	Silent bool
}

// Error says why, for logs.
func (p *Postponed) Error() string { return fmt.Sprintf("%s is asked later: %s", p.host, p.why) }

// Postponed is when to ask again, with jitter in it.
func (p *Postponed) Postponed() time.Duration { return p.After }

func IsPostponed(err error) bool {
	var postponed *Postponed
	return errors.As(err, &postponed)
}
