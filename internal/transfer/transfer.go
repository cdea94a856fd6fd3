// Package transfer has what the importer and the registry client say to each other about copies.
package transfer

import (
	"errors"
	"fmt"
)

// Progress is how far a copy is. The totals are as far as manifests are known.
type Progress struct {
	Blobs, BlobsDone int
	Bytes, BytesDone int64
}

// String returns the text for a Tag's status.
func (p Progress) String() string {
	if p.Blobs == 0 {
		return "mirroring"
	}
	return fmt.Sprintf("mirroring, %d of %d blobs, %d of %d MiB", p.BlobsDone, p.Blobs, p.BytesDone>>20, p.Bytes>>20)
}

// CopyResult is what a copy did.
type CopyResult struct {
	// Uploaded, Skipped and Mounted are the bytes of the blobs that were sent, were there already, or were mounted.
	Uploaded, Skipped, Mounted int64
	// Attachments is the number of referrers that are new in the internal registry.
	Attachments int
	// Missing says which referrers of the image are missing, or may be, and why; empty if none is.
	Missing string
}

var (
	// ErrDeletionForbidden says that the internal registry does not delete.
	ErrDeletionForbidden = errors.New("the internal registry forbids deletion")
	// ErrOtherRegistry says that an image is not in the internal registry that is configured now.
	ErrOtherRegistry = errors.New("the image is in another registry")
)
