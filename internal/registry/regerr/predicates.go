package regerr

import (
	"context"
	"errors"
	"net"
	"slices"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	v1 "github.com/images-io/tagger/api/v1"
)

// IsA reports whether the chain of an error has one of a type.
func IsA[T error](err error) bool {
	var wanted T
	return errors.As(err, &wanted)
}

// IsTimeout reports whether an error is a timeout, of a deadline or of the network.
func IsTimeout(err error) bool {
	var failure net.Error
	return errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &failure) && failure.Timeout())
}

// IsStatus reports whether an error is a response with one of the statuses.
func IsStatus(err error, statuses ...int) bool {
	var response *ggcr.Error
	return errors.As(err, &response) && slices.Contains(statuses, response.StatusCode)
}

// HasCode reports whether an error is a response with one of the codes (distribution-spec, section "Error Codes").
func HasCode(err error, codes ...ggcr.ErrorCode) bool {
	var response *ggcr.Error
	return errors.As(err, &response) && slices.ContainsFunc(response.Errors, func(one ggcr.Diagnostic) bool {
		return slices.Contains(codes, one.Code)
	})
}

// IsUnauthorized reports whether a registry refused a credential, or the anonymous user.
func IsUnauthorized(err error) bool { return HasReason(err, v1.ReasonUnauthorized) }

// HasReason reports whether an error is an *Error with the reason.
func HasReason(err error, reason v1.Reason) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.reason == reason
}
