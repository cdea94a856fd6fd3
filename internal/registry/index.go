package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

const (
	// maxChildren is how many manifests an index may name. The largest images have some twenty platforms, each with an
	// attestation.
	maxChildren = 64
	// maxNesting is how many indexes may be one in another. Nobody makes more; without a bound a registry may make them as
	// we ask.
	maxNesting = 2
)

var (
	errTooManyChildren = errors.New("the index names too many manifests")
	errTooDeep         = errors.New("the index is nested too deeply")
	errNoManifest      = errors.New("this is no image manifest")
)

// manifest is what we look at in manifests and indexes (image-spec, "Image Index" and "Image Manifest").
type manifest struct {
	SchemaVersion int      `json:"schemaVersion"`
	Children      children `json:"manifests"`
}

// descriptor is what an index says of a manifest (image-spec, "Content Descriptors").
type descriptor struct {
	MediaType types.MediaType `json:"mediaType"`
	Digest    digest.Digest   `json:"digest"`
}

// parseManifest wants the schemaVersion to be 2, as the image-spec does in indexes and manifests alike.
func parseManifest(content []byte) (manifest, error) {
	var parsed manifest
	if err := json.Unmarshal(content, &parsed); err != nil {
		return manifest{}, errors.Join(errNoManifest, err)
	}
	if parsed.SchemaVersion != 2 {
		return manifest{}, errNoManifest
	}
	return parsed, nil
}

// children are the manifests that an index names. They are counted while they are read: 4 MiB have room for a million.
type children []descriptor

// UnmarshalJSON implements json.Unmarshaler.
func (c *children) UnmarshalJSON(content []byte) error {
	*c = nil
	if string(content) == "null" {
		return nil
	}
	stream := json.NewDecoder(bytes.NewReader(content))
	if open, err := stream.Token(); open != json.Delim('[') {
		return errors.Join(errNoManifest, err)
	}
	for stream.More() {
		if len(*c) == maxChildren {
			return errTooManyChildren
		}
		var child descriptor
		if err := stream.Decode(&child); err != nil {
			return err
		}
		if err := child.Digest.Validate(); err != nil {
			return err
		}
		*c = append(*c, child)
	}
	return nil
}

// walk goes through an image from its index down.
type walk struct {
	// visit is called for every manifest below, each once, in the order that the indexes name them. It returns the content,
	// which must have the digest, or nil where it is not interested.
	visit func(ctx context.Context, child descriptor) ([]byte, error)
	seen  map[digest.Digest]bool
}

func newWalk(visit func(ctx context.Context, child descriptor) ([]byte, error)) *walk {
	return &walk{visit: visit, seen: map[digest.Digest]bool{}}
}

// from walks below a manifest, whose content is given. An image manifest has nothing below it.
func (w *walk) from(ctx context.Context, content []byte) error { return w.below(ctx, content, 1) }

func (w *walk) below(ctx context.Context, content []byte, nesting int) error {
	parsed, err := parseManifest(content)
	if err != nil {
		return err
	}
	for _, child := range parsed.Children {
		if child.MediaType.IsIndex() && nesting == maxNesting {
			return errTooDeep
		}
		if w.seen[child.Digest] {
			continue
		}
		w.seen[child.Digest] = true
		content, err := w.visit(ctx, child)
		if err != nil {
			return err
		}
		if content == nil {
			continue
		}
		if err := w.below(ctx, content, nesting+1); err != nil {
			return err
		}
	}
	return nil
}
