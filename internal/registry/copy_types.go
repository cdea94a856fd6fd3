package registry

import (
	"errors"

	"github.com/images-io/tagger/internal/reference"
)

// Order is what to copy, and whereto.
type Order struct {
	// Source is where from. registries.conf says where it is asked.
	Source reference.Source
	// Digest is that of the index or the manifest, as it was resolved.
	Digest string
	// Credentials are the namespace's. The source sees them, and nobody else.
	Credentials Keyring
	// To is whereto.
	To Repository
	// Tag is the generation, as a decimal.
	Tag string
	// Namespace is who asks. Only what was copied for the same one is mounted.
	Namespace string
	// Progress is told how far the copy is, often and from any goroutine, so it must be quick. It may be nil.
	Progress func(Progress)
}

// Progress is how far a copy is. The totals are as far as manifests are known.
type Progress struct {
	Blobs, BlobsDone int
	Bytes, BytesDone int64
}

// Copied is what became of the blobs of a copy, in bytes, and how many attachments came with it. Missing says which did not, and why.
type Copied struct {
	Sent, Found, Mounted int64
	Attachments          int
	Missing              string
}

// ErrDeletionForbidden says that the registry does not delete.
var ErrDeletionForbidden = errors.New("the registry forbids deletion")
