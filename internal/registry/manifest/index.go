package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/regerr"
)

const (
	// maxChildren is how many manifests an index may name. The largest images have some twenty platforms, each with an
	// attestation.
	maxChildren = 64
	// MaxNesting is how many indexes may be one in another. No tool makes more; without a bound a registry may make them as
	// we ask.
	MaxNesting = 2
)

var (
	errTooManyChildren = regerr.Content("is an index of more than %d manifests", maxChildren)
	// ErrTooDeep is for indexes that name indexes that name indexes.
	ErrTooDeep = regerr.Content("is more than %d indexes in one another", MaxNesting)
	// ErrNoManifest is also for web pages, and for Docker's schema 1, which no runtime pulls any more.
	ErrNoManifest = regerr.NotContent("is no image manifest of schema 2")
)

// header is what we look at in manifests and indexes (image-spec, "Image Index" and "Image Manifest").
type header struct {
	SchemaVersion int      `json:"schemaVersion"`
	Children      children `json:"manifests"`
}

// Descriptor is what an index says of a manifest, and a manifest of a blob (image-spec, "Content Descriptors").
type Descriptor struct {
	MediaType types.MediaType `json:"mediaType"`
	Digest    digest.Digest   `json:"digest"`
	Size      int64           `json:"size"`
	// URLs is whether the content may be downloaded from elsewhere.
	URLs nonEmpty `json:"urls,omitempty"`
}

// nonEmpty is whether a list has an element.
type nonEmpty bool

// UnmarshalJSON implements json.Unmarshaler.
func (n *nonEmpty) UnmarshalJSON(list []byte) error {
	*n = string(list) != "null" && len(bytes.Trim(list, "[] \t\r\n")) > 0
	return nil
}

// ParseHeader wants the schemaVersion to be 2, as the image-spec does in indexes and manifests alike.
func ParseHeader(content []byte) (header, error) {
	var parsed header
	if err := json.Unmarshal(content, &parsed); err != nil {
		return header{}, errors.Join(err, ErrNoManifest)
	}
	if parsed.SchemaVersion != 2 {
		return header{}, ErrNoManifest
	}
	return parsed, nil
}

// children are the manifests that an index names. They are counted while they are read: 4 MiB have room for a million.
type children []Descriptor

// UnmarshalJSON implements json.Unmarshaler.
func (c *children) UnmarshalJSON(content []byte) (err error) {
	*c, err = parseDescriptors(content, maxChildren, errTooManyChildren)
	return err
}

// parseDescriptors reads a list of no more than the limit.
func parseDescriptors(content []byte, limit int, tooMany error) ([]Descriptor, error) {
	if string(content) == "null" {
		return nil, nil
	}
	stream := json.NewDecoder(bytes.NewReader(content))
	if open, err := stream.Token(); open != json.Delim('[') {
		return nil, errors.Join(err, ErrNoManifest)
	}
	found := []Descriptor{}
	for stream.More() {
		if len(found) == limit {
			return nil, tooMany
		}
		var next Descriptor
		if err := stream.Decode(&next); err != nil {
			return nil, err
		}
		if err := next.Digest.Validate(); err != nil {
			return nil, err
		}
		found = append(found, next)
	}
	return found, nil
}

// Walker goes through an image from its index down.
type Walker struct {
	// visit is called for every manifest below, each once, in the order that the indexes name them. It returns the content,
	// which must have the digest, or nil where it is not interested.
	visit func(ctx context.Context, child Descriptor) ([]byte, error)
	seen  map[digest.Digest]bool
}

// NewWalker returns a Walker that calls visit for each manifest.
func NewWalker(visit func(ctx context.Context, child Descriptor) ([]byte, error)) *Walker {
	return &Walker{visit: visit, seen: map[digest.Digest]bool{}}
}

// From walks below a manifest, whose content is given. An image manifest has nothing below it.
func (w *Walker) From(ctx context.Context, content []byte) error { return w.below(ctx, content, 1) }

func (w *Walker) below(ctx context.Context, content []byte, nesting int) error {
	parsed, err := ParseHeader(content)
	if err != nil {
		return err
	}
	for _, child := range parsed.Children {
		if child.MediaType.IsIndex() && nesting == MaxNesting {
			return ErrTooDeep
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
