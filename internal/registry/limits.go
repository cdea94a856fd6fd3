package registry

import "github.com/images-io/tagger/internal/registry/regerr"

// maxManifests is how many manifests an image may have in all, and what is attached to it, too. maxManifestBytes is how large all
// of these may be together: a copy keeps them until it is done.
const maxManifests = 256

const maxManifestBytes = 8 << 20

// maxBlobs is how many blobs an image may have in all. The largest have some two thousand.
const maxBlobs = 8192

var (
	errTooManyManifests = regerr.Content("is an image of more than %d manifests, or of manifests of more than %d MiB together, what is attached to it included", maxManifests, maxManifestBytes>>20)
	errTooManyBlobs     = regerr.Content("is an image of more than %d blobs", maxBlobs)
)

// maxManifest is how large a manifest may be, in bytes: what the distribution-spec asks registries to take (section
// "Pushing Manifests"), and the most that others read.
const maxManifest = 4 << 20

// errTooLarge is the end of an answer that is larger than anything resolving needs.
var errTooLarge = regerr.Content("is larger than the %d MiB that a manifest may have", maxManifest>>20)

// errWrongDigest is content that is not what was asked for.
var errWrongDigest = regerr.Content("does not have the digest that it should have; push the image again")
