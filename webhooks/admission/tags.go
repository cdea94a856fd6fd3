package admission

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
	"github.com/images-io/tagger/internal/reference"
)

const (
	// longestRead bounds the live reads of one review together.
	longestRead = 2 * time.Second
	// maxLiveReads bounds the number of live reads. Tags with further names come from the cache alone.
	maxLiveReads = 32
	// longestWait bounds the wait for first imports where the context has no deadline.
	longestWait = 5 * time.Second
	// importPoll is the interval between cache reads while a first import is in progress.
	importPoll = 50 * time.Millisecond
)

// tags reads the Tags of a namespace for one review: each name once in the cache, and at most once live.
type tags struct {
	cache, live client.Reader
	namespace   string
	// known has the Tags read so far, nil for a Tag that does not exist.
	known map[string]*v1.Tag
	// asked has the names that were read live.
	asked map[string]bool
	// spare is an empty Tag for the next read.
	spare *v1.Tag
}

func (p *Pinner) tags(namespace string) *tags {
	return &tags{cache: p.Tags, live: p.Live, namespace: namespace, known: map[string]*v1.Tag{}, asked: map[string]bool{}}
}

// cached returns the Tag from an earlier read, or from the cache, or nil.
func (t *tags) cached(ctx context.Context, name string) (*v1.Tag, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if tag, ok := t.known[name]; ok {
		return tag, nil
	}
	tag, err := t.read(ctx, t.cache, name)
	if err == nil {
		t.known[name] = tag
	}
	return tag, err
}

// fresh returns the Tag as cached does, and reads it live if the cache does not have it, or has no import of it. The context
// reading bounds the live reads.
func (t *tags) fresh(ctx, reading context.Context, name string) (*v1.Tag, error) {
	tag, err := t.cached(ctx, name)
	if err != nil || tag != nil && tag.Current() != nil || t.asked[name] || len(t.asked) == maxLiveReads {
		return tag, err
	}
	t.asked[name] = true
	newer, err := t.read(reading, t.live, name)
	switch {
	case err != nil && tag == nil:
		return nil, err
	case err == nil && newer != nil:
		t.known[name] = newer
	}
	return t.known[name], nil
}

// read returns the Tag from a reader, or nil.
func (t *tags) read(ctx context.Context, reader client.Reader, name string) (*v1.Tag, error) {
	tag := t.spare
	if t.spare = nil; tag == nil {
		tag = &v1.Tag{}
	}
	err := reader.Get(ctx, types.NamespacedName{Namespace: t.namespace, Name: name}, tag, client.UnsafeDisableDeepCopy) // pinning only reads
	switch {
	case apierrors.IsNotFound(err):
		t.spare = tag // nothing was read into it
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("Tagger could not read Tag %s: %w", name, err)
	}
	return tag, nil
}

// awaitImports waits, by polling the cache, for first imports of the Tags that a new Job names: a Job cannot get its image
// later. It ends with patience. It does not wait for a Tag that does not exist: tools create it after the response to the Job.
func (t *tags) awaitImports(ctx, reading, patience context.Context, job pin.Workload) error {
	for _, f := range job.ImageFields() {
		name := *f.Image
		if !reference.IsTagName(name) {
			continue
		}
		tag, err := t.fresh(ctx, reading, name)
		if err != nil {
			return err
		}
		if tag == nil || !isImporting(tag) {
			continue
		}
		err = wait.PollUntilContextCancel(patience, importPoll, true, func(ctx context.Context) (bool, error) {
			newer, err := t.read(ctx, t.cache, name)
			if err != nil || newer == nil {
				return false, err // the cache is older than the live read
			}
			t.known[name] = newer
			return !isImporting(newer), nil
		})
		if err != nil && patience.Err() == nil {
			return err
		}
	}
	return nil
}

// isImporting reports whether the first import of the Tag is in progress: the Tag has no import, and no attempt failed.
func isImporting(tag *v1.Tag) bool {
	return tag.Current() == nil && tag.Status.LastImportAttempt == nil
}

// half returns half of the time until the deadline, at most limit.
func half(ctx context.Context, limit time.Duration) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return limit
	}
	return min(deadline.Sub(clock.RealClock{}.Now())/2, limit)
}
