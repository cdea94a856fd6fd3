package remote

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/transfer"
)

// Mirror is one repository of the internal registry. All that goes wrong there is MirrorUnavailable.
type Mirror struct {
	Repository
	Locations *endpoint.BlobLocations
	// NoWait: a request that is throttled fails at once.
	NoWait bool
}

// Ping finds out how the registry wants to be asked, where that is worth a request.
func (m Mirror) Ping(ctx context.Context) error {
	return m.Fault(m.DoWaiting(ctx, func(context.Context, Requester) error { return nil }))
}

// MountingFrom returns the mirror for mounting from a repository; an empty one is the mirror's own.
func (m Mirror) MountingFrom(from string) Mirror {
	m.Endpoint.MountFrom = from
	return m
}

// DoLimited asks what is not about blobs, and so should not take long.
func (m Mirror) DoLimited(ctx context.Context, operate operation) error {
	use := m.DoWaiting
	if m.NoWait {
		use = m.do
	}
	return m.Fault(use(ctx, func(ctx context.Context, requester Requester) error {
		ctx, cancel := context.WithTimeout(ctx, m.Timeouts.Request)
		defer cancel()
		return operate(ctx, requester)
	}))
}

// HeadManifest returns the digest of a manifest by tag or digest, empty where there is none.
func (m Mirror) HeadManifest(ctx context.Context, identifier string) (held string, err error) {
	ep := m.Endpoint
	ep.Identifier = identifier
	if parsed, err := digest.Parse(identifier); err == nil {
		ep = ep.WithDigest(parsed)
	}
	err = m.DoLimited(ctx, func(ctx context.Context, requester Requester) error {
		held, err = requester.Digest(ctx, ep)
		if regerr.IsStatus(err, http.StatusNotFound) {
			return nil
		}
		return err
	})
	return held, err
}

// PutManifest puts a manifest under a tag or its digest (distribution-spec, section "Pushing Manifests"), and tells whether the
// registry noted by itself what the manifest is attached to.
func (m Mirror) PutManifest(ctx context.Context, n *manifest.Node, identifier string) (noted bool, err error) {
	err = m.DoLimited(ctx, func(ctx context.Context, requester Requester) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, m.Endpoint.URL(requester.Scheme, "manifests/"+identifier), bytes.NewReader(n.Content))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", string(n.MediaType))
		response, err := requester.send(request, http.StatusCreated, http.StatusOK, http.StatusAccepted)
		if err != nil {
			m.forgetBlobs(n, err)
			return err
		}
		noted = response.Header.Get("OCI-Subject") != ""
		return drain(response)
	})
	return noted, err
}

// PutTag puts a manifest under a tag. A registry with immutable tags refuses to write a tag that has the manifest already: that is no
// error.
func (m Mirror) PutTag(ctx context.Context, n *manifest.Node, tag string) error {
	_, err := m.PutManifest(ctx, n, tag)
	var response *ggcr.Error
	if !errors.As(err, &response) {
		return err
	}
	if held, headErr := m.HeadManifest(ctx, tag); headErr == nil && held == n.Digest.String() {
		return nil
	}
	return err
}

// forgetBlobs forgets where the blobs of a manifest are, when the registry does not take it: it may have lost one.
func (m Mirror) forgetBlobs(n *manifest.Node, err error) {
	var response *ggcr.Error
	if !errors.As(err, &response) {
		return
	}
	for _, blob := range n.Blobs {
		m.Locations.Forget(m.Endpoint, blob.Digest)
	}
}

// DeleteManifest deletes (distribution-spec, section "Content Management").
func (m Mirror) DeleteManifest(ctx context.Context, identifier string) error {
	err := m.DoLimited(ctx, func(ctx context.Context, requester Requester) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodDelete, m.Endpoint.URL(requester.Scheme, "manifests/"+identifier), nil)
		if err != nil {
			return err
		}
		response, err := requester.send(request, http.StatusAccepted, http.StatusOK, http.StatusNoContent, http.StatusNotFound)
		if err != nil {
			return err
		}
		return drain(response)
	})
	if forbidsDeletion(err) {
		return regerr.New(v1.ReasonMirrorUnavailable, errors.Join(transfer.ErrDeletionForbidden, err), "%s: it forbids deletion", m.Endpoint.Text)
	}
	return err
}

// forbidsDeletion says whether a registry does not delete: at all, tags, or for us. What its token service refuses is not that.
func forbidsDeletion(err error) bool {
	if errors.Is(err, errNoLogin) {
		return false
	}
	return regerr.HasCode(err, ggcr.UnsupportedErrorCode) || regerr.IsStatus(err, http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusForbidden)
}

// Fault says of an error that it is the mirror's. Its text is for the administrator, who named the mirror.
func (m Mirror) Fault(err error) error {
	var failure *regerr.Error
	if !errors.As(err, &failure) || failure.Reason() == v1.ReasonMirrorUnavailable {
		return err
	}
	if refused := refusedAlgorithm(err); refused != "" {
		return regerr.New(v1.ReasonInvalidContent, failure, "%s: it cannot store %s: it does not know the algorithm of this digest; write spec.from with a tag or a sha256 digest, or set spec.cache to false", m.Endpoint.Text, refused)
	}
	return failure.WithReason(v1.ReasonMirrorUnavailable)
}

// wasRefused says whether a fault of the mirror is that it did not let us in.
func wasRefused(err error) bool {
	var fault *regerr.Error
	return errors.As(err, &fault) && fault.Reason() == v1.ReasonMirrorUnavailable && regerr.IsUnauthorized(fault.Unwrap())
}
