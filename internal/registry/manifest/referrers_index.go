package manifest

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/regerr"
)

// MaxReferrers is how many manifests may be attached to an image.
const MaxReferrers = 128

// ErrTooManyReferrers is more than that.
var ErrTooManyReferrers = regerr.Content("lists more than %d manifests that are attached to the image; the administrator can have what is attached left out with --mirror-attachments=false", MaxReferrers)

// referrersIndex is what lists referrers (distribution-spec, "Listing Referrers").
type referrersIndex struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	Manifests     []json.RawMessage `json:"manifests"`
}

// referrer is an entry.
type referrer struct {
	Descriptor
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// ParseReferrers reads an index, which may be larger than that of an image.
func ParseReferrers(content []byte) ([]Descriptor, error) {
	var index struct {
		SchemaVersion int             `json:"schemaVersion"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(content, &index); err != nil || index.SchemaVersion != 2 || index.Manifests == nil {
		return nil, errors.Join(err, ErrNoManifest)
	}
	return parseDescriptors(index.Manifests, MaxReferrers, ErrTooManyReferrers)
}

// WithReferrers returns the index with these manifests appended; empty content means an empty index. Where there is no room for all, the
// first ones go: what is not attached any more.
func WithReferrers(content []byte, attached []*Node) (with []byte, changed bool, err error) {
	index, known, err := parseReferrersIndex(content)
	if err != nil {
		return nil, false, err
	}
	entries := map[digest.Digest]json.RawMessage{}
	for _, n := range attached {
		if entries[n.Digest], err = n.entry(); err != nil {
			return nil, false, err
		}
	}
	var all []json.RawMessage
	for i, one := range known {
		if entries[one.Digest] == nil {
			all = append(all, index.Manifests[i])
		}
	}
	for _, n := range attached {
		all = append(all, entries[n.Digest])
		changed = changed || !slices.ContainsFunc(known, func(one Descriptor) bool { return one.Digest == n.Digest })
	}
	index.Manifests = all[max(0, len(all)-MaxReferrers):]
	with, err = json.Marshal(index)
	return with, changed, err
}

// parseReferrersIndex returns the index, and what it lists.
func parseReferrersIndex(content []byte) (index referrersIndex, listed []Descriptor, err error) {
	index = referrersIndex{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if content == nil {
		return index, nil, nil
	}
	if listed, err = ParseReferrers(content); err != nil {
		return index, nil, err
	}
	if err := json.Unmarshal(content, &index); err != nil {
		return index, nil, errors.Join(err, ErrNoManifest)
	}
	return index, listed, nil
}

// maxEntry is how large an entry with annotations, and its manifest, may be, in bytes. A larger one is listed without them.
const maxEntry = 16 << 10

// entry returns the node as an entry. It says what kind of artifact it is (image-spec, "Guidelines for Artifact Usage").
func (n *Node) entry() ([]byte, error) {
	made := referrer{Descriptor: n.Descriptor, ArtifactType: n.Body.ArtifactType}
	made.Size, made.URLs = int64(len(n.Content)), false
	if made.ArtifactType == "" && n.Body.Config != nil {
		made.ArtifactType = string(n.Body.Config.MediaType)
	}
	if !mediaTypes.MatchString(made.ArtifactType) {
		made.ArtifactType = ""
	}
	if len(n.Content) <= maxEntry {
		made.Annotations = n.annotations()
	}
	entry, err := json.Marshal(made)
	if err == nil && len(entry) > maxEntry { // a character of an annotation may take six
		made.Annotations = nil
		entry, err = json.Marshal(made)
	}
	return entry, err
}

// annotations returns the annotations of a manifest, or none unless all of them are strings.
func (n *Node) annotations() map[string]string {
	var body struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(n.Content, &body) != nil {
		return nil
	}
	return body.Annotations
}
