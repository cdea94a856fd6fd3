package generation

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Bounds of the retries after a failed import (DESIGN: Generations, rule 3).
const (
	shortestRetry  = time.Second
	longestEarly   = time.Minute
	earlyPhase     = 10 * time.Minute
	longestRetry   = 10 * time.Minute
	jitterFraction = 0.2
)

// when holds an action back while an earlier failure of the same kind asks for patience.
func when(in Input, action Decision) Decision {
	attempt, since := in.Tag.Status.LastImportAttempt, in.Tag.FailingSince()
	if attempt == nil || since.IsZero() {
		return action
	}
	if attempt.When.After(in.Now) {
		return action // a clock was wrong; the next attempt records its own time
	}
	due := attempt.When.Add(Backoff(string(in.Tag.UID), later(since, in.Changed), attempt.When.Time))
	if changed := ceil(in.Changed); attempt.When.Time.Before(changed) {
		due = changed
	} else if !in.Tag.NotReadyReason().Retried() {
		return polled(in, action, "only an edit can cure the failure")
	}
	wait := due.Sub(in.Now)
	if wait <= 0 {
		return action
	}
	return Decision{Action: Keep, After: wait, Why: "the last import failed, and the next is not due"}
}

// polled takes an action when spec.interval has passed, and waits for a change without one.
func polled(in Input, action Decision, otherwise string) Decision {
	if in.Tag.Spec.Interval == nil {
		return Decision{Action: Keep, Why: otherwise}
	}
	next := NextPoll(in.Tag.Spec.From, in.Tag.Spec.Interval.Duration, in.Checked)
	if wait := next.Sub(in.Now); wait > 0 {
		return Decision{Action: Keep, After: wait, Why: otherwise + ", and the next poll is not due"}
	}
	action.NotBefore = next
	return action
}

// RepeatPushAfter is how long after a push notification that brought nothing new the check is repeated.
const RepeatPushAfter = 10 * time.Second

// repeated checks once more after a push notification that brought nothing new.
func (in Input) repeated(decision Decision) Decision {
	if in.Repeat.IsZero() {
		return decision
	}
	again := Decision{
		Action: Check, Trigger: triggerOf(in.Tag), Request: request(in.Tag), NotBefore: in.Repeat, Why: "the registry may have notified too early",
	}
	return in.unlessDue(decision, again, in.Repeat)
}

// Hold says that a registry is not to be asked for a while: it said so, or it was not the Tag's turn.
type Hold struct{ Since, Until time.Time }

// barred holds back what would ask the registry, unless something changed since that may lead elsewhere.
func (in Input) barred(decision Decision) Decision {
	wait := in.Hold.Until.Sub(in.Now)
	if wait <= 0 || in.Changed.After(in.Hold.Since) {
		return decision
	}
	switch {
	case decision.Action == Import || decision.Action == Check:
		return Decision{Action: Keep, After: wait, Why: "it is not time to ask the registry"}
	case decision.Action == Keep && decision.After > 0:
		decision.After = max(decision.After, wait)
	}
	return decision
}

// withUpkeep verifies and prunes images while there is nothing else to do.
func (in Input) withUpkeep(decision Decision) Decision {
	if decision.Action != Keep && decision.Action != Reject {
		return decision
	}
	if ref := in.Tag.CurrentMirrored(); ref != nil {
		verify := Decision{Action: Verify, Generation: ref.Generation, Why: "it is time to see whether the internal registry has the generation in use"}
		decision = in.unlessDue(decision, verify, in.VerifyAt)
	}
	if len(in.Tag.Unreferenced()) > 0 {
		collect := Decision{Action: Prune, Why: "the internal registry has generations that left the history"}
		decision = in.unlessDue(decision, collect, in.PruneAt)
	}
	return decision
}

// unlessDue returns the decision to wait, until then at most, or the upkeep where that is due.
func (in Input) unlessDue(decision, upkeep Decision, due time.Time) Decision {
	if decision.Action != Keep && decision.Action != Reject {
		return decision
	}
	wait := due.Sub(in.Now)
	if wait <= 0 {
		return upkeep
	}
	if decision.After == 0 || wait < decision.After {
		decision.After = wait
	}
	return decision
}

// Bounds of the waits between tries to take something away from the internal registry.
const (
	shortestCollect = 2 * time.Second
	longestCollect  = 10 * time.Minute
)

// PruneAgain returns how long to wait after so many tries to take something away: twice as long each time.
func PruneAgain(tries int) time.Duration {
	return min(shortestCollect<<min(tries, 16), longestCollect)
}

// VerifyAgain returns how long to wait after the internal registry did not have a generation, and it could not be brought back.
func VerifyAgain(interval time.Duration) time.Duration { return min(longestEarly, interval) }

// Spread returns a wait that is longer by up to a tenth, so that not all Tags come back in the same moment.
func Spread(uid string, wait time.Duration) time.Duration {
	return wait + time.Duration(0.1*fraction(uid)*float64(wait))
}

// ceil rounds up to a full second: the status has no finer times, and an attempt must not look older than the change
// that it came after.
func ceil(t time.Time) time.Time {
	return t.Add(time.Second - time.Nanosecond).Truncate(time.Second)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Backoff returns how long to wait after an attempt that failed like all since. It doubles from 1 s to 60 s during the
// first 10 minutes, and then to 10 minutes, less up to a fifth that depends on the Tag and the attempt.
func Backoff(uid string, since, attempt time.Time) time.Duration {
	failing := attempt.Sub(since)
	longest := longestEarly
	if failing >= earlyPhase {
		longest = longestRetry
	}
	wait := min(max(failing, shortestRetry), longest)
	spread := 1 - jitterFraction*fraction(uid+attempt.UTC().Format(time.RFC3339))
	return max(time.Duration(float64(wait)*spread), shortestRetry)
}

// NextPoll returns the first time after the last check at which a source is polled. Each source has its own phase in the
// interval, so that a restart, or many Tags made at once, do not ask all at once; Tags that share a source share the phase, so
// that one response serves all. It keeps the monotonic reading of checked, so that a clock that is set back holds up no poll.
func NextPoll(source string, interval time.Duration, checked time.Time) time.Time {
	phase := time.Duration(fraction(source) * float64(interval))
	next := checked.Truncate(interval).Add(phase)
	if !next.After(checked) {
		next = next.Add(interval)
	}
	return checked.Add(next.Sub(checked))
}

// fraction maps a key to [0, 1), evenly.
func fraction(key string) float64 {
	sum := sha256.Sum256([]byte(key))
	return float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
}
