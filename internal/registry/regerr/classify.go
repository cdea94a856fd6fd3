package regerr

import (
	"errors"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	v1 "github.com/images-io/tagger/api/v1"
)

// Classify gives an error its reason and its text. An error that is an *Error already stays as it is.
func Classify(err error, subject Subject) *Error {
	var known *Error
	var cause *Cause
	var response *ggcr.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &cause) && !cause.isHost:
		return fromCause(err, cause, subject).with(reached)
	case errors.As(err, &response):
		return fromResponse(response, subject).withText(hint(err)).with(reached)
	default:
		return fromTransport(err, subject)
	}
}

func fromCause(err error, cause *Cause, subject Subject) *Error {
	switch {
	case cause.reason != v1.ReasonInvalidContent:
		return New(cause.reason, err, "%s: %s; Tagger tries again", subject.Text, cause.text)
	case cause.isReference:
		return New(cause.reason, err, "%s: what the registry sends %s; check %s, or push the image again", subject.Text, cause.text, subject.setting())
	default:
		return New(cause.reason, err, "%s: what the registry sends %s", subject.Text, cause.text)
	}
}

func hint(err error) string {
	var hinted *HintError
	if !errors.As(err, &hinted) {
		return ""
	}
	return hinted.hint
}
