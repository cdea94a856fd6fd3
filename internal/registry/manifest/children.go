package manifest

import (
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
)

// Children returns what a manifest names. It may be an index of what is attached, which may be longer than that of an image.
func Children(content []byte) ([]digest.Digest, error) {
	var body struct {
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(content, &body); err != nil {
		return nil, errors.Join(err, ErrNoManifest)
	}
	if body.Manifests == nil {
		return []digest.Digest{}, nil
	}
	children, err := parseDescriptors(body.Manifests, MaxReferrers, ErrTooManyReferrers)
	return Digests(children), err
}

// Digests returns the digests of descriptors.
func Digests(manifests []Descriptor) []digest.Digest {
	digests := make([]digest.Digest, len(manifests))
	for i, one := range manifests {
		digests[i] = one.Digest
	}
	return digests
}
