package copier

import "cmp"

const (
	// blobsPerCopy is the default number of large blobs that are copied at a time.
	blobsPerCopy = 4
	// maxImageSize is the default of the largest image, in bytes.
	maxImageSize = 20 << 30
)

// Limits bound copies. The zero value has the defaults, and leaves attachments where they are.
type Limits struct {
	// BlobsPerCopy is how many large blobs of one copy are on their way at a time; of small ones, it is four times as many.
	// 0 means 4.
	BlobsPerCopy int
	// MaxImageSize is how large an image may be, in bytes, with all platforms; and what is attached to it, too. 0 means 20 GiB.
	MaxImageSize int64
	// Attachments: signatures and whatever else is attached to an image are copied with it.
	Attachments bool
	// BestEffort: an attachment that a registry refuses, or that is not whole, does not keep the image from being copied.
	BestEffort bool
}

// Complete fills in the defaults.
func (l Limits) Complete() Limits {
	l.BlobsPerCopy = cmp.Or(l.BlobsPerCopy, blobsPerCopy)
	l.MaxImageSize = cmp.Or(l.MaxImageSize, maxImageSize)
	return l
}

const (
	// manifestsAtOnce is how many are read at a time.
	manifestsAtOnce = 16
)
