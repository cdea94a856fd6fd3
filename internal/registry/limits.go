package registry

import "errors"

// maxManifests is how many manifests an image may have in all, and what is attached to it, too. maxManifestBytes is how large all
// of these may be together: a copy keeps them until it is done.
const maxManifests = 256

const maxManifestBytes = 8 << 20

// maxBlobs is how many blobs an image may have in all. The largest have some two thousand.
const maxBlobs = 8192

var (
	errTooManyManifests = errors.New("the image has too many manifests")
	errTooManyBlobs     = errors.New("the image has too many blobs")
)

// maxManifest is how large a manifest may be, in bytes: what the distribution-spec asks registries to take (section
// "Pushing Manifests"), and the most that others read.
const maxManifest = 4 << 20

// errTooLarge is the end of an answer that is larger than anything resolving needs.
var errTooLarge = errors.New("the answer is too large")

// errWrongDigest is content that is not what was asked for.
var errWrongDigest = errors.New("the content does not have the digest")
