package manifest

import "github.com/images-io/tagger/internal/registry/regerr"

// MaxManifests is how many manifests an image may have in all, and what is attached to it, too. maxManifestBytes is how large all
// of these may be together: a copy keeps them until it is done.
const MaxManifests = 256

const maxManifestBytes = 8 << 20

// MaxBlobs is how many blobs an image may have in all. The largest have some two thousand.
const MaxBlobs = 8192

var (
	// ErrTooManyManifests is for images with more manifests than a copy reads.
	ErrTooManyManifests = regerr.Content("is an image of more than %d manifests, or of manifests of more than %d MiB together, what is attached to it included", MaxManifests, maxManifestBytes>>20)
	// ErrTooManyBlobs is the same for blobs.
	ErrTooManyBlobs = regerr.Content("is an image of more than %d blobs", MaxBlobs)
)

// MaxSize is how large a manifest may be, in bytes: what the distribution-spec asks registries to take (section
// "Pushing Manifests"), and the most that others read.
const MaxSize = 4 << 20

// ErrTooLarge ends a response that is larger than any manifest.
var ErrTooLarge = regerr.Content("is larger than the %d MiB that a manifest may have", MaxSize>>20)

// ErrWrongDigest is content that is not what was asked for.
var ErrWrongDigest = regerr.Content("does not have the digest that it should have; push the image again")
