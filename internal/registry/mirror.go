package registry

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
)

// mirror is one repository of the internal registry. All that goes wrong there is MirrorUnavailable.
type mirror struct {
	access
	placements *placements
	// hurries: who asks does not wait for its turn.
	hurries bool
}

// greet finds out how the registry wants to be asked, where that is worth a request.
func (m mirror) greet(ctx context.Context) error {
	return m.fault(m.patiently(ctx, func(context.Context, requester) error { return nil }))
}

// mounting is the mirror for mounting from a repository; an empty one is the mirror's own.
func (m mirror) mounting(from string) mirror {
	m.at.mountsFrom = from
	return m
}

// ask asks what is not about blobs, and so should not take long.
func (m mirror) ask(ctx context.Context, ask asking) error {
	use := m.patiently
	if m.hurries {
		use = m.use
	}
	return m.fault(use(ctx, func(ctx context.Context, with requester) error {
		ctx, cancel := context.WithTimeout(ctx, m.timeouts.Request)
		defer cancel()
		return ask(ctx, with)
	}))
}

func (m mirror) holds(ctx context.Context, identifier string) (held string, err error) {
	at := m.at
	at.identifier = identifier
	if parsed, err := digest.Parse(identifier); err == nil {
		at = at.child(parsed)
	}
	err = m.ask(ctx, func(ctx context.Context, with requester) error {
		held, err = with.digest(ctx, at)
		if regerr.IsStatus(err, http.StatusNotFound) {
			return nil
		}
		return err
	})
	return held, err
}

// put puts a manifest under a tag or its digest (distribution-spec, section "Pushing Manifests"), and tells whether the
// registry noted by itself what the manifest is attached to.
func (m mirror) put(ctx context.Context, n *node, identifier string) (noted bool, err error) {
	err = m.ask(ctx, func(ctx context.Context, with requester) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, m.at.url(with.scheme, "manifests/"+identifier), bytes.NewReader(n.content))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", string(n.MediaType))
		response, err := with.send(request, http.StatusCreated, http.StatusOK, http.StatusAccepted)
		if err != nil {
			m.forget(n, err)
			return err
		}
		noted = response.Header.Get("OCI-Subject") != ""
		return drain(response)
	})
	return noted, err
}

// putTag puts a manifest under a tag. A registry with immutable tags refuses to write a tag that has the manifest already: that is no
// error.
func (m mirror) putTag(ctx context.Context, n *node, tag string) error {
	_, err := m.put(ctx, n, tag)
	var answer *ggcr.Error
	if !errors.As(err, &answer) {
		return err
	}
	if held, headErr := m.holds(ctx, tag); headErr == nil && held == n.Digest.String() {
		return nil
	}
	return err
}

// forget forgets where the blobs of a manifest are, when the registry does not take it: it may have lost one.
func (m mirror) forget(n *node, err error) {
	var answer *ggcr.Error
	if !errors.As(err, &answer) {
		return
	}
	for _, blob := range n.blobs {
		m.placements.lost(m.at, blob.Digest)
	}
}

// remove deletes (distribution-spec, section "Content Management").
func (m mirror) remove(ctx context.Context, identifier string) error {
	err := m.ask(ctx, func(ctx context.Context, with requester) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodDelete, m.at.url(with.scheme, "manifests/"+identifier), nil)
		if err != nil {
			return err
		}
		response, err := with.send(request, http.StatusAccepted, http.StatusOK, http.StatusNoContent, http.StatusNotFound)
		if err != nil {
			return err
		}
		return drain(response)
	})
	if forbidsDeletion(err) {
		return regerr.New(v1.ReasonMirrorUnavailable, errors.Join(ErrDeletionForbidden, err), "%s: it forbids deletion", m.at.text)
	}
	return err
}

// forbidsDeletion says whether a registry does not delete: at all, tags, or for us. What its token service refuses is not that.
func forbidsDeletion(err error) bool {
	if errors.Is(err, errNoSession) {
		return false
	}
	return regerr.HasCode(err, ggcr.UnsupportedErrorCode) || regerr.IsStatus(err, http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusForbidden)
}

// fault says of an error that it is the mirror's. Its text is for the administrator, who named the mirror.
func (m mirror) fault(err error) error {
	var failure *regerr.Error
	if !errors.As(err, &failure) || failure.Reason() == v1.ReasonMirrorUnavailable {
		return err
	}
	if refused := refusedAlgorithm(err); refused != "" {
		return regerr.New(v1.ReasonInvalidContent, failure, "%s: it cannot store %s: it does not know the algorithm of this digest; write spec.from with a tag or a sha256 digest, or set spec.cache to false", m.at.text, refused)
	}
	return failure.WithReason(v1.ReasonMirrorUnavailable)
}

// wasRefused says whether a fault of the mirror is that it did not let us in.
func wasRefused(err error) bool {
	var fault *regerr.Error
	return errors.As(err, &fault) && fault.Reason() == v1.ReasonMirrorUnavailable && regerr.IsUnauthorized(fault.Unwrap())
}
