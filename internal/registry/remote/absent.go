package remote

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// FetchOptional reads what may not be there; the content is nil then. The caller says which responses mean that.
func (a Repository) FetchOptional(ctx context.Context, ep endpoint.Endpoint, isAbsent func(error) bool) (content []byte, found digest.Digest, err error) {
	err = a.doOptional(ctx, isAbsent, func(ctx context.Context, requester Requester) (err error) {
		content, found, err = requester.Fetch(ctx, ep)
		return err
	})
	if isAbsent(err) {
		return nil, "", nil
	}
	return content, found, err
}

// DigestOptional returns the digest of a manifest, empty where there is none. It takes one HEAD.
func (a Repository) DigestOptional(ctx context.Context, ep endpoint.Endpoint, isAbsent func(error) bool) (found string, err error) {
	err = a.doOptional(ctx, isAbsent, func(ctx context.Context, requester Requester) (err error) {
		found, err = requester.Digest(ctx, ep)
		return err
	})
	if isAbsent(err) {
		return "", nil
	}
	return found, err
}

// doOptional requests what may be absent. A response that says so is the error, too; it is not a refusal, and costs no login.
func (a Repository) doOptional(ctx context.Context, isAbsent func(error) bool, operate operation) error {
	var absent error
	err := a.DoWaiting(ctx, func(ctx context.Context, requester Requester) error {
		ctx, cancel := context.WithTimeout(ctx, a.Timeouts.Request)
		defer cancel()
		absent = operate(ctx, requester)
		if isAbsent(absent) && !a.needsLogin(requester.Client, absent) {
			return nil
		}
		return absent
	})
	return cmp.Or(err, absent)
}

// unclearStatuses are the statuses that decide nothing: the request is repeated.
var unclearStatuses = []int{
	http.StatusRequestTimeout, http.StatusMisdirectedRequest, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests,
}

// IsAbsent reports whether the response of a source means that nothing is attached: any that says that the registry does not support the
// request, or refuses it. A response of a token service does not say that.
func IsAbsent(err error) bool {
	var response *ggcr.Error
	if !errors.As(err, &response) || errors.Is(err, errNoLogin) {
		return false
	}
	return response.StatusCode/100 == 4 && !slices.Contains(unclearStatuses, response.StatusCode) || response.StatusCode == http.StatusNotImplemented
}

// IsGone says that a registry that lets us in does not have it.
func IsGone(err error) bool {
	return regerr.IsStatus(err, http.StatusNotFound) && !errors.Is(err, errNoLogin)
}
