package registry

import (
	"io"
	"sync"
)

// tally counts what a copy did, and tells how far it is.
type tally struct {
	tell func(Progress)

	mu       sync.Mutex
	progress Progress
	copied   Copied
}

// update changes the counts, and tells them in the order that they have.
func (t *tally) update(change func(*Progress, *Copied)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.progress, &t.copied)
	if t.tell != nil {
		t.tell(t.progress)
	}
}

// restart is for another try. What came of the last one stays counted.
func (t *tally) restart() {
	t.update(func(progress *Progress, _ *Copied) { *progress = Progress{} })
}

func (t *tally) expect(blobs []descriptor) {
	t.update(func(progress *Progress, _ *Copied) {
		progress.Blobs += len(blobs)
		for _, blob := range blobs {
			progress.Bytes += blob.Size
		}
	})
}

// arrived counts a blob. The bytes of one that was sent moved before.
func (t *tally) arrived(how outcome, bytes int64) {
	t.update(func(progress *Progress, copied *Copied) {
		progress.BlobsDone++
		switch how {
		case wasSent:
			copied.Sent += bytes
			return
		case wasFound:
			copied.Found += bytes
		case wasMounted:
			copied.Mounted += bytes
		}
		progress.BytesDone += bytes
	})
}

func (t *tally) attached(count int) {
	t.update(func(_ *Progress, copied *Copied) { copied.Attachments += count })
}

func (t *tally) missing(text string) {
	t.update(func(_ *Progress, copied *Copied) { copied.Missing = text })
}

func (t *tally) result() Copied {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.copied
}

// counter counts the bytes that are read.
type counter struct {
	io.Reader
	tally *tally
	// count and inVain are guarded by the tally.
	count  int64
	inVain bool
}

// Read implements io.Reader.
func (c *counter) Read(buffer []byte) (int, error) {
	count, err := c.Reader.Read(buffer)
	if count > 0 {
		c.tally.update(func(progress *Progress, _ *Copied) { c.add(progress, int64(count)) })
	}
	return count, err
}

func (c *counter) add(progress *Progress, bytes int64) {
	if !c.inVain {
		c.count += bytes
		progress.BytesDone += bytes
	}
}

// undo takes back what was read in vain. Who reads may still be at it.
func (c *counter) undo() {
	c.tally.update(func(progress *Progress, _ *Copied) {
		c.add(progress, -c.count)
		c.inVain = true
	})
}
