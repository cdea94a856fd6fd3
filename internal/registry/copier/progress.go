package copier

import (
	"io"
	"sync"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/remote"
	"github.com/images-io/tagger/internal/transfer"
)

// Progress counts what a copy did, and tells how far it is.
type Progress struct {
	Report func(transfer.Progress)

	mu       sync.Mutex
	progress transfer.Progress
	result   transfer.CopyResult
}

// update changes the counts, and tells them in the order that they have.
func (t *Progress) update(change func(*transfer.Progress, *transfer.CopyResult)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.progress, &t.result)
	if t.Report != nil {
		t.Report(t.progress)
	}
}

// Restart resets the progress for another attempt. The results stay counted.
func (t *Progress) Restart() {
	t.update(func(progress *transfer.Progress, _ *transfer.CopyResult) { *progress = transfer.Progress{} })
}

func (t *Progress) expect(blobs []manifest.Descriptor) {
	t.update(func(progress *transfer.Progress, _ *transfer.CopyResult) {
		progress.Blobs += len(blobs)
		for _, blob := range blobs {
			progress.Bytes += blob.Size
		}
	})
}

// blobDone counts a blob. The bytes of one that was sent moved before.
func (t *Progress) blobDone(how remote.Outcome, bytes int64) {
	t.update(func(progress *transfer.Progress, copied *transfer.CopyResult) {
		progress.BlobsDone++
		switch how {
		case remote.Uploaded:
			copied.Uploaded += bytes
			return
		case remote.Skipped:
			copied.Skipped += bytes
		case remote.Mounted:
			copied.Mounted += bytes
		}
		progress.BytesDone += bytes
	})
}

func (t *Progress) referrersDone(count int) {
	t.update(func(_ *transfer.Progress, copied *transfer.CopyResult) { copied.Attachments += count })
}

func (t *Progress) setMissing(text string) {
	t.update(func(_ *transfer.Progress, copied *transfer.CopyResult) { copied.Missing = text })
}

// Result returns what the copy did so far.
func (t *Progress) Result() transfer.CopyResult {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.result
}

// countingReader counts the bytes that are read.
type countingReader struct {
	io.Reader
	progress *Progress
	// count and discarded are guarded by the progress.
	count     int64
	discarded bool
}

// Read implements io.Reader.
func (c *countingReader) Read(buffer []byte) (int, error) {
	count, err := c.Reader.Read(buffer)
	if count > 0 {
		c.progress.update(func(progress *transfer.Progress, _ *transfer.CopyResult) { c.add(progress, int64(count)) })
	}
	return count, err
}

func (c *countingReader) add(progress *transfer.Progress, bytes int64) {
	if !c.discarded {
		c.count += bytes
		progress.BytesDone += bytes
	}
}

// discard takes back what was read in vain. Who reads may still be at it.
func (c *countingReader) discard() {
	c.progress.update(func(progress *transfer.Progress, _ *transfer.CopyResult) {
		c.add(progress, -c.count)
		c.discarded = true
	})
}
