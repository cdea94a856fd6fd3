// Package generation decides what to do next for a Tag. It is pure: the Tag, the time and what happened around it are
// arguments, and the decision carries its reason.
package generation

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
)

// Action is what to do next for a Tag.
type Action string

const (
	// Keep does nothing until Decision.After has passed or something changes.
	Keep Action = "Keep"
	// Import resolves spec.from, records it as Decision.Generation, and moves the Tag there.
	Import Action = "Import"
	// Select moves the Tag to Decision.Generation, which is imported already.
	Select Action = "Select"
	// Refresh says that nothing is wrong with a spec that changed and wants what is in use.
	Refresh Action = "Refresh"
	// Check asks the registry whether spec.from has another digest than the newest generation.
	Check Action = "Check"
	// Bump asks for Decision.Generation in spec.generation.
	Bump Action = "Bump"
	// Adopt carries out a request for Decision.Generation that admission missed: it writes spec.generation and drops the request.
	Adopt Action = "Adopt"
	// Discard drops a request that admission missed and that cannot be met.
	Discard Action = "Discard"
	// Verify asks the internal registry whether it has the generation in use.
	Verify Action = "Verify"
	// Prune deletes images from the internal registry that no reference names.
	Prune Action = "Collect"
	// Reject says that the generation wanted cannot be had.
	Reject Action = "Reject"
)

// Input is what a decision depends on.
type Input struct {
	Tag *v1.Tag
	// Now is the time of the decision.
	Now time.Time
	// Checked is when the registry was asked last, or, before that, since when this process knows the Tag.
	Checked time.Time
	// Changed is when something changed that imports depend on outside of the Tag: pull secrets, registries.conf.
	Changed time.Time
	// Tried is the requested check that was tried last, with or without success.
	Tried string
	// Repeat is when to check once more after a push notification that brought nothing new; zero means never. Registries notify
	// before the tag can be read (distribution#2625).
	Repeat time.Time
	// Hold holds back what asks the registry.
	Hold Hold
	// VerifyAt and PruneAt are when the Tag's images in the internal registry are verified and pruned next.
	VerifyAt, PruneAt time.Time
}

// Decision is what to do next, and why.
type Decision struct {
	Action     Action
	Generation int64
	Trigger    v1.Trigger
	// Request is the value of images.io/requested-check that the action fulfils.
	Request string
	// After is how long to wait before the next decision; 0 waits for a change.
	After time.Duration
	// NotBefore is the earliest time of a response to a poll: the poll was due then. Zero means that a request waits.
	NotBefore time.Time
	Why       string
}

// Plan decides what to do next for a Tag.
func Plan(in Input) Decision { return in.withUpkeep(in.barred(in.repeated(plan(in)))) }

func plan(in Input) Decision {
	if requested, ok := in.Tag.Annotations[v1.AnnotationRequestedGeneration]; ok {
		return adopt(in.Tag, requested)
	}
	wanted := in.Tag.WantedGeneration()
	if in.Tag.Reference(wanted) == nil {
		return unknown(in, wanted)
	}
	if edited(in.Tag, wanted) && !isExhausted(in.Tag) {
		return Decision{Action: Bump, Generation: in.Tag.Newest().Generation + 1, Trigger: v1.TriggerUser, Why: "the source changed without the generation"}
	}
	if in.Tag.Status.Generation == nil || *in.Tag.Status.Generation != wanted {
		return Decision{Action: Select, Generation: wanted, Why: "the generation wanted is imported and not in use"}
	}
	if isExhausted(in.Tag) {
		return Decision{Action: Reject, Generation: wanted, Why: fmt.Sprintf(
			"generation %d is the highest possible number, so no new image can be imported; delete the Tag and create it again with a lower generation",
			int64(v1.MaxGeneration))}
	}
	if !said(in.Tag) {
		return Decision{Action: Refresh, Generation: wanted, Why: "the status is behind the spec"}
	}
	return hints(in)
}

// IsPoll reports whether spec.interval is the reason for the action.
func (d Decision) IsPoll() bool { return d.Action == Check && d.Trigger == v1.TriggerPoll }

// Allowed says whether a Tag may be moved to that generation: a known one, the newest plus 1, or any up to
// v1.MaxFirstGeneration before the first import.
func Allowed(tag *v1.Tag, generation int64) bool {
	newest := tag.Newest()
	switch {
	case generation < 0:
		return false
	case newest == nil:
		return generation <= v1.MaxFirstGeneration
	default:
		return tag.Reference(generation) != nil || generation == newest.Generation+1 && !isExhausted(tag)
	}
}

// isExhausted reports whether the newest generation is the highest one, so that no new image can be imported.
func isExhausted(tag *v1.Tag) bool {
	newest := tag.Newest()
	return newest != nil && newest.Generation >= v1.MaxGeneration
}

// Explain says which generations a Tag may be moved to.
func Explain(tag *v1.Tag, generation int64) string {
	if len(tag.Status.References) == 0 {
		return fmt.Sprintf("generation %d is more than %d, the highest number of a first import", generation, int64(v1.MaxFirstGeneration))
	}
	known := make([]string, 0, len(tag.Status.References))
	for _, ref := range tag.Status.References {
		known = append(known, strconv.FormatInt(ref.Generation, 10))
	}
	return fmt.Sprintf("generation %d is not one of the imported generations (%s), nor the newest one plus 1 (%d), which imports the image again",
		generation, strings.Join(known, ", "), tag.Newest().Generation+1)
}

func adopt(tag *v1.Tag, requested string) Decision {
	generation, err := strconv.ParseInt(requested, 10, 64)
	if err != nil || !Allowed(tag, generation) {
		return Decision{Action: Discard, Why: "admission missed a request for a generation that cannot be had"}
	}
	return Decision{Action: Adopt, Generation: generation, Why: "admission missed a request for a generation"}
}

// unknown decides for a generation that no reference has: a new one is imported, an old one is gone.
func unknown(in Input, wanted int64) Decision {
	if newest := in.Tag.Newest(); newest != nil && wanted < newest.Generation {
		return Decision{Action: Reject, Generation: wanted, Why: Explain(in.Tag, wanted)}
	}
	action := Decision{
		Action: Import, Generation: wanted, Trigger: trigger(in.Tag, wanted), Request: request(in.Tag), Why: "the generation wanted is not imported",
	}
	if requested(in) {
		return action
	}
	return when(in, action)
}

// edited reports whether the source changed while admission was away, and the generation did not.
func edited(tag *v1.Tag, wanted int64) bool {
	return !tag.IsAdmitted() && tag.Status.Generation != nil && *tag.Status.Generation == wanted
}

// said says whether the status is about this very spec: it is ready, or its last check failed.
func said(tag *v1.Tag) bool {
	failing := !tag.FailingSince().IsZero() && tag.NotReadyReason() != v1.ReasonUnknownGeneration
	return tag.IsReady() || failing
}

// hints decides whether to ask the registry for news. A new request does not wait for what failed before.
func hints(in Input) Decision {
	check := Decision{Action: Check, Trigger: v1.TriggerPoll, Request: request(in.Tag), Why: "spec.interval has passed"}
	if pending(in.Tag) {
		check.Trigger, check.Why = triggerOf(in.Tag), "a check was requested"
	}
	switch {
	case requested(in):
		return check
	case pending(in.Tag) || in.Tag.NotReadyReason() != "":
		return when(in, check)
	default:
		return polled(in, check, "the generation wanted is in use")
	}
}

// triggerOf returns the trigger of the requested check.
func triggerOf(tag *v1.Tag) v1.Trigger {
	if strings.HasPrefix(tag.Annotations[v1.AnnotationRequestedCheck], v1.UserRequestPrefix) {
		return v1.TriggerUser
	}
	return v1.TriggerPush
}

// pending says whether a requested check has no result.
func pending(tag *v1.Tag) bool {
	return request(tag) != "" && request(tag) != tag.Status.LastHandledRequest
}

// requested says whether it was not even tried.
func requested(in Input) bool {
	return pending(in.Tag) && request(in.Tag) != in.Tried
}

// RequestKey identifies the request for a Tag: a result counts only for the same key.
func RequestKey(tag *v1.Tag) string { return fmt.Sprintf("%d %s", tag.Generation, request(tag)) }

// request returns the check that is requested, or its hash where the status cannot hold it.
func request(tag *v1.Tag) string {
	value := tag.Annotations[v1.AnnotationRequestedCheck]
	if len(value) <= v1.MaxRequestLength {
		return value
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(value)))
}

// trigger returns what brought a generation that is not imported yet.
func trigger(tag *v1.Tag, wanted int64) v1.Trigger {
	if tag.Newest() == nil {
		return v1.TriggerImport
	}
	number, name, _ := strings.Cut(tag.Annotations[v1.AnnotationTrigger], "=")
	if number == strconv.FormatInt(wanted, 10) && (name == string(v1.TriggerPush) || name == string(v1.TriggerPoll)) {
		return v1.Trigger(name)
	}
	return v1.TriggerUser
}

// FormatTrigger returns the value of images.io/trigger for a generation that Tagger asks for.
func FormatTrigger(generation int64, trigger v1.Trigger) string {
	return fmt.Sprintf("%d=%s", generation, trigger)
}

// SameDigest says whether a generation is the image of that digest.
func SameDigest(ref *v1.Reference, digest string) bool {
	return strings.HasSuffix(ref.ImageReference, "@"+digest)
}
