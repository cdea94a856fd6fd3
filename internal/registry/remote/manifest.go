package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/auth"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/transport"
)

// acceptable are the manifests that the kubelet's runtimes pull. Indexes come first, so that all platforms stay.
var acceptable = strings.Join([]string{
	string(types.OCIImageIndex), string(types.DockerManifestList),
	string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
}, ", ")

// Digest asks with a HEAD (distribution-spec, section "Checking if content exists in the registry"), which counts as no
// pull. Only where that gives no digest, as with older registries, the manifest is read and hashed.
func (r Requester) Digest(ctx context.Context, ep endpoint.Endpoint) (string, error) {
	response, err := r.ask(ctx, http.MethodHead, ep)
	if hasNoHead(err) {
		return r.hashed(ctx, ep)
	}
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if types.MediaType(response.Header.Get("Content-Type")).IsSchema1() {
		return "", manifest.ErrNoManifest
	}
	if found, err := digest.Parse(response.Header.Get("Docker-Content-Digest")); err == nil && ep.Accepts(found) {
		return found.String(), nil
	}
	return r.hashed(ctx, ep)
}

// hashed reads the manifest, makes the digest itself, and looks at the indexes below.
func (r Requester) hashed(ctx context.Context, ep endpoint.Endpoint) (string, error) {
	leave, err := r.readers.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	content, found, err := r.read(ctx, ep)
	if err != nil {
		return "", err
	}
	indexes := manifest.NewWalker(func(ctx context.Context, child manifest.Descriptor) ([]byte, error) {
		if !child.MediaType.IsIndex() {
			return nil, nil
		}
		content, _, err := r.read(ctx, ep.WithDigest(child.Digest))
		return content, err
	})
	return found.String(), indexes.From(ctx, content)
}

// read returns a manifest as it was sent, and its digest.
func (r Requester) read(ctx context.Context, ep endpoint.Endpoint) ([]byte, digest.Digest, error) {
	content, found, err := r.Fetch(ctx, ep)
	if err != nil {
		return nil, "", err
	}
	_, err = manifest.ParseHeader(content)
	return content, found, err
}

// Fetch returns what the registry stores, and its digest, without parsing it.
func (r Requester) Fetch(ctx context.Context, ep endpoint.Endpoint) ([]byte, digest.Digest, error) {
	response, err := r.ask(ctx, http.MethodGet, ep)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, "", err
	}
	found := ep.Algorithm().FromBytes(content)
	switch {
	case ep.Accepts(found):
		return content, found, nil
	case transport.EndsWithConnection(response):
		return nil, "", io.ErrUnexpectedEOF
	default:
		return nil, "", manifest.ErrWrongDigest
	}
}

// ask sends one request. A response other than 200 is a *ggcr.Error.
func (r Requester) ask(ctx context.Context, method string, ep endpoint.Endpoint) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, ep.ManifestURL(r.Scheme), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", acceptable)
	return r.send(request, http.StatusOK)
}

// send sends a request, and returns a response that has one of these statuses. Any other is a *ggcr.Error.
func (r Requester) send(request *http.Request, statuses ...int) (*http.Response, error) {
	response, err := r.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	if err := ggcr.CheckError(response, statuses...); err != nil {
		response.Body.Close()
		return nil, auth.WithChallenge(err, request, response)
	}
	r.Worked.Store(true)
	return response, nil
}

// hasNoHead says that the registry knows no HEAD.
func hasNoHead(err error) bool {
	var response *ggcr.Error
	return errors.As(err, &response) && (response.StatusCode == http.StatusMethodNotAllowed || response.StatusCode == http.StatusNotImplemented)
}
