package manifest

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/regerr"
)

// maxLayers is how many layers a manifest may name. Images have at most 127; artifacts may have more.
const maxLayers = 1024

// mediaTypes are those that may be (RFC 6838, section 4.2): the registry that a manifest is put into is told its type.
var mediaTypes = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$`)

var (
	errTooManyLayers = regerr.Content("is a manifest of more than %d layers", maxLayers)
	// errForeignLayer is a layer that must not be distributed (image-spec, "Non-Distributable Layers").
	errForeignLayer = regerr.Content("names a layer that must not be distributed (a foreign layer), so that it cannot be cached; set spec.cache to false")
	// ErrWrongSize is content of another size than its descriptor says.
	ErrWrongSize = regerr.Content("does not have the size that it should have; push the image again")
)

// Manifest is what a manifest or an index names. It has no annotations: as a map they are several times as large as they were sent.
type Manifest struct {
	MediaType    types.MediaType `json:"mediaType"`
	ArtifactType string          `json:"artifactType"`
	Subject      *Descriptor     `json:"subject"`
	Config       *Descriptor     `json:"config"`
	Layers       layers          `json:"layers"`
	Children     children        `json:"manifests"`
}

// layers are the layers that a manifest names, counted while they are read.
type layers []Descriptor

// UnmarshalJSON implements json.Unmarshaler.
func (l *layers) UnmarshalJSON(content []byte) (err error) {
	*l, err = parseDescriptors(content, maxLayers, errTooManyLayers)
	return err
}

// parse reads what parseManifest took for a manifest. What names children and blobs at once would be an index to
// some and an image to others (CVE-2021-41190).
func parse(content []byte) (Manifest, error) {
	var parsed Manifest
	if err := json.Unmarshal(content, &parsed); err != nil {
		return Manifest{}, errors.Join(err, ErrNoManifest)
	}
	if parsed.Children != nil && (parsed.Config != nil || parsed.Layers != nil) {
		return Manifest{}, ErrNoManifest
	}
	return parsed, nil
}

// blobs returns the config and the layers, each once.
func (b Manifest) blobs() ([]Descriptor, error) {
	named := b.Layers
	if b.Config != nil {
		named = append(layers{*b.Config}, b.Layers...)
	}
	seen := map[digest.Digest]bool{}
	var found []Descriptor
	for _, blob := range named {
		if err := blob.check(); err != nil {
			return nil, err
		}
		if !seen[blob.Digest] {
			seen[blob.Digest] = true
			found = append(found, blob)
		}
	}
	return found, nil
}

// mediaType returns what the manifest says of itself, or else what was said of it, or else what it looks like: OCI's manifests
// need not say.
func (b Manifest) mediaType(said types.MediaType) types.MediaType {
	switch {
	case b.MediaType != "":
		return b.MediaType
	case said != "":
		return said
	case b.Children != nil:
		return types.OCIImageIndex
	default:
		return types.OCIManifestSchema1
	}
}

// check refuses what no registry has.
func (d Descriptor) check() error {
	if err := d.Digest.Validate(); err != nil {
		return errors.Join(err, ErrNoManifest)
	}
	if d.Size < 0 {
		return ErrWrongSize
	}
	if bool(d.URLs) || isForeign(d.MediaType) { // distribution refuses a manifest whose layer has URLs, of whatever media type
		return errForeignLayer
	}
	return nil
}

// isForeign knows the types that go-containerregistry knows, and those with zstd.
func isForeign(mediaType types.MediaType) bool {
	return !mediaType.IsDistributable() || strings.HasPrefix(string(mediaType), "application/vnd.oci.image.layer.nondistributable.")
}
