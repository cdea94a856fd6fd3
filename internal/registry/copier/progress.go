package copier

import (
	"io"
	"sync"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/remote"
	"github.com/images-io/tagger/internal/transfer"
)

// Tally counts what a copy did, and tells how far it is.
type Tally struct {
	Tell func(transfer.Progress)

	mu       sync.Mutex
	progress transfer.Progress
	copied   transfer.Copied
}

// update changes the counts, and tells them in the order that they have.
func (t *Tally) update(change func(*transfer.Progress, *transfer.Copied)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.progress, &t.copied)
	if t.Tell != nil {
		t.Tell(t.progress)
	}
}

// Restart is for another try. What came of the last one stays counted.
func (t *Tally) Restart() {
	t.update(func(progress *transfer.Progress, _ *transfer.Copied) { *progress = transfer.Progress{} })
}

func (t *Tally) expect(blobs []manifest.Descriptor) {
	t.update(func(progress *transfer.Progress, _ *transfer.Copied) {
		progress.Blobs += len(blobs)
		for _, blob := range blobs {
			progress.Bytes += blob.Size
		}
	})
}

// arrived counts a blob. The bytes of one that was sent moved before.
func (t *Tally) arrived(how remote.Outcome, bytes int64) {
	t.update(func(progress *transfer.Progress, copied *transfer.Copied) {
		progress.BlobsDone++
		switch how {
		case remote.WasSent:
			copied.Sent += bytes
			return
		case remote.WasFound:
			copied.Found += bytes
		case remote.WasMounted:
			copied.Mounted += bytes
		}
		progress.BytesDone += bytes
	})
}

func (t *Tally) attached(count int) {
	t.update(func(_ *transfer.Progress, copied *transfer.Copied) { copied.Attachments += count })
}

func (t *Tally) missing(text string) {
	t.update(func(_ *transfer.Progress, copied *transfer.Copied) { copied.Missing = text })
}

func (t *Tally) Result() transfer.Copied {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.copied
}

// counter counts the bytes that are read.
type counter struct {
	io.Reader
	tally *Tally
	// count and inVain are guarded by the tally.
	count  int64
	inVain bool
}

// Read implements io.Reader.
func (c *counter) Read(buffer []byte) (int, error) {
	count, err := c.Reader.Read(buffer)
	if count > 0 {
		c.tally.update(func(progress *transfer.Progress, _ *transfer.Copied) { c.add(progress, int64(count)) })
	}
	return count, err
}

func (c *counter) add(progress *transfer.Progress, bytes int64) {
	if !c.inVain {
		c.count += bytes
		progress.BytesDone += bytes
	}
}

// undo takes back what was read in vain. Who reads may still be at it.
func (c *counter) undo() {
	c.tally.update(func(progress *transfer.Progress, _ *transfer.Copied) {
		c.add(progress, -c.count)
		c.inVain = true
	})
}
