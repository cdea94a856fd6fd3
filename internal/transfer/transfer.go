package transfer

import (
	"errors"
)

// Progress is how far a copy is. The totals are as far as manifests are known.
type Progress struct {
	Blobs, BlobsDone int
	Bytes, BytesDone int64
}

// CopyResult is what became of the blobs of a copy, in bytes, and how many attachments came with it. Missing says which did not, and why.
type CopyResult struct {
	Uploaded, Skipped, Mounted int64
	Attachments                int
	Missing                    string
}

// ErrDeletionForbidden says that the registry does not delete.
var ErrDeletionForbidden = errors.New("the registry forbids deletion")
