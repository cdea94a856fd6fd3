package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
)

// maxManifest is how large a manifest may be, in bytes: what the distribution-spec asks registries to take (section
// "Pushing Manifests"), and the most that others read.
const maxManifest = 4 << 20

// acceptable are the manifests that the kubelet's runtimes pull. Indexes come first, so that all platforms stay.
var acceptable = strings.Join([]string{
	string(types.OCIImageIndex), string(types.DockerManifestList),
	string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
}, ", ")

// digest asks with a HEAD (distribution-spec, section "Checking if content exists in the registry"), which counts as no
// pull. Only where that gives no digest, as with older registries, the manifest is read and hashed.
func (s *session) digest(ctx context.Context, at location) (string, error) {
	response, err := s.ask(ctx, http.MethodHead, at)
	if hasNoHead(err) {
		return s.hashed(ctx, at)
	}
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if types.MediaType(response.Header.Get("Content-Type")).IsSchema1() {
		return "", noManifest(at)
	}
	if found, err := digest.Parse(response.Header.Get("Docker-Content-Digest")); err == nil && at.takes(found) {
		return found.String(), nil
	}
	return s.hashed(ctx, at)
}

// takes says whether the digest can be the answer: any for a tag, the very same for a digest.
func (l location) takes(found digest.Digest) bool { return l.digest == "" || l.digest == found }

// hashed reads the manifest and makes the digest itself.
func (s *session) hashed(ctx context.Context, at location) (string, error) {
	response, err := s.ask(ctx, http.MethodGet, at)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	manifest, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if !isManifest(manifest) {
		return "", noManifest(at)
	}
	found := at.algorithm().FromBytes(manifest)
	if !at.takes(found) {
		return "", newError(v1.ReasonInvalidContent, nil, "%s: what the registry sends does not have this digest; push the image again", at.text)
	}
	return found.String(), nil
}

// algorithm is that of the digest asked for.
func (l location) algorithm() digest.Algorithm {
	if l.digest == "" {
		return digest.Canonical
	}
	return l.digest.Algorithm()
}

// noManifest is for web pages, and for Docker's schema 1, which no runtime pulls any more.
func noManifest(at location) error {
	return newError(v1.ReasonInvalidContent, nil, "%s: what the registry sends is no image manifest of schema 2; check spec.from, or push the image again", at.text)
}

// isManifest looks at the schemaVersion, which the image-spec wants to be 2 in indexes and manifests alike.
func isManifest(content []byte) bool {
	var manifest struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	return json.Unmarshal(content, &manifest) == nil && manifest.SchemaVersion == 2
}

// ask sends one request. An answer but 200 is a *transport.Error.
func (s *session) ask(ctx context.Context, method string, at location) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, at.manifestURL(s.scheme), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", acceptable)
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(response, http.StatusOK); err != nil {
		response.Body.Close()
		return nil, err
	}
	return response, nil
}

// hasNoHead says that the registry knows no HEAD.
func hasNoHead(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusMethodNotAllowed || answer.StatusCode == http.StatusNotImplemented)
}
