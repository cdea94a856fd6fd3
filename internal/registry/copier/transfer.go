package copier

import (
	"context"
	"errors"
	"net/url"
	"sync"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"
)

const (
	// largeBlob is from which size on, in bytes, a blob takes the place of smallPerLarge small ones: with those it is the
	// responses that take the time, and with large ones the bytes.
	largeBlob     = 8 << 20
	smallPerLarge = 4
)

// imageTransfer brings the blobs and manifests of one image, and of what is attached to it, from its source to the mirror.
type imageTransfer struct {
	source remote.Source
	mirror remote.Mirror
	// namespace is who asks.
	namespace string
	progress  *Progress
	slots     *semaphore.Weighted

	// blobs and manifests are apart, for a manifest may also be named as a blob.
	blobs, manifests tracker
}

func newImageTransfer(source remote.Source, mirror remote.Mirror, namespace string, blobs int, tally *Progress) *imageTransfer {
	return &imageTransfer{
		source: source, mirror: mirror, namespace: namespace, progress: tally,
		slots: semaphore.NewWeighted(int64(blobs * smallPerLarge)),
	}
}

// copyNodes brings all blobs of a tree, and all manifests but the last one. A manifest comes after all that it names.
func (d *imageTransfer) copyNodes(ctx context.Context, t *graph) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.copyBlobs(ctx, group, t) })
	for _, n := range t.ordered {
		if n.IsLast {
			continue
		}
		if p, isMine := d.manifests.tryCommit(n.Digest); isMine {
			group.Go(func() error { return d.copyManifest(ctx, n, p) })
		}
	}
	return group.Wait()
}

// copyBlobs begins with the next blob when there is room.
func (d *imageTransfer) copyBlobs(ctx context.Context, group *errgroup.Group, t *graph) error {
	blobs, parcels := d.commitBlobs(t)
	d.progress.expect(blobs)
	for i, blob := range blobs {
		weight := weightOf(blob)
		if err := d.slots.Acquire(ctx, weight); err != nil {
			return err
		}
		group.Go(func() error {
			defer d.slots.Release(weight)
			return d.copyBlob(ctx, blob, parcels[i])
		})
	}
	return nil
}

// commitBlobs returns the blobs of a graph that are not being copied yet.
func (d *imageTransfer) commitBlobs(t *graph) (blobs []manifest.Descriptor, parcels []*item) {
	for _, n := range t.ordered {
		for _, blob := range n.Blobs {
			if p, isMine := d.blobs.tryCommit(blob.Digest); isMine {
				blobs, parcels = append(blobs, blob), append(parcels, p)
			}
		}
	}
	return blobs, parcels
}

func weightOf(blob manifest.Descriptor) int64 {
	if blob.Size >= largeBlob {
		return smallPerLarge
	}
	return 1
}

func (d *imageTransfer) copyManifest(ctx context.Context, n *manifest.Node, p *item) (err error) {
	if err := d.await(ctx, n); err != nil {
		return err
	}
	if p.listed, err = d.mirror.PutManifest(ctx, n, n.Digest.String()); err != nil {
		return err
	}
	close(p.done)
	return nil
}

// await waits for all that a manifest names.
func (d *imageTransfer) await(ctx context.Context, n *manifest.Node) error {
	for _, blob := range n.Blobs {
		if err := d.blobs.await(ctx, blob.Digest); err != nil {
			return err
		}
	}
	return d.awaitNodes(ctx, n.Children)
}

// awaitNodes waits until manifests are copied.
func (d *imageTransfer) awaitNodes(ctx context.Context, nodes []*manifest.Node) error {
	for _, n := range nodes {
		if err := d.manifests.await(ctx, n.Digest); err != nil {
			return err
		}
	}
	return nil
}

// copyBlob mounts, finds or sends a blob. A blob that the mirror does not let us mount is sent.
func (d *imageTransfer) copyBlob(ctx context.Context, blob manifest.Descriptor, p *item) error {
	from, isKnown := d.mirror.Locations.Candidate(d.mirror.Endpoint, d.namespace, blob.Digest)
	how, err := d.transferBlob(ctx, d.mirror.MountingFrom(from), blob, isKnown)
	if from != "" && d.mirror.GivesUpMounting(err) {
		how, err = d.transferBlob(ctx, d.mirror, blob, false)
	}
	if errors.Is(err, manifest.ErrWrongDigest) { // the content may have changed on its way
		how, err = d.transferBlob(ctx, d.mirror, blob, false)
	}
	if err != nil {
		return err
	}
	if how == remote.Skipped {
		d.mirror.Locations.RecordExists(d.mirror.Endpoint, blob.Digest)
	} else {
		d.mirror.Locations.RecordUpload(d.mirror.Endpoint, d.namespace, blob.Digest)
	}
	d.progress.blobDone(how, blob.Size)
	close(p.done)
	return nil
}

// transferBlob asks the mirror where to send a blob and, unless the mirror should have it already, the source for its content at the same
// time. Where the mirror wants another token in the middle, all of it is done once more.
func (d *imageTransfer) transferBlob(ctx context.Context, mirror remote.Mirror, blob manifest.Descriptor, isKnown bool) (how remote.Outcome, err error) {
	var failure error // of the source
	err = mirror.DoWaiting(ctx, func(ctx context.Context, requester remote.Requester) error {
		ctx, cancel := context.WithCancel(ctx)
		coming := d.fetch(ctx, blob, !isKnown)
		defer coming.close(cancel)
		where, was, err := mirror.MountOrStartUpload(ctx, requester, blob)
		if how = was; err != nil || where == nil {
			return err
		}
		content, err := coming.get()
		if err != nil {
			failure = err
			return regerr.ErrAtSource
		}
		err = d.putBlob(ctx, mirror, requester, where, content)
		switch {
		case errors.Is(err, regerr.ErrAtSource):
			failure = err
		case isInvalidDigest(err):
			failure = manifest.ErrWrongDigest
		}
		return err
	})
	if failure != nil {
		return how, regerr.WithText(d.source.Describe(failure), "; this is about the blob "+blob.Digest.String())
	}
	return how, mirror.Fault(err)
}

// isInvalidDigest reports whether a registry refused content for its digest (distribution-spec, "Error Codes").
func isInvalidDigest(err error) bool { return regerr.HasCode(err, ggcr.DigestInvalidErrorCode) }

// putBlob sends a blob, and counts what is sent. The registry that stores it compares its digest (distribution-spec, "Pushing Blobs"), and so
// does the node that pulls it: Tagger does not.
func (d *imageTransfer) putBlob(ctx context.Context, mirror remote.Mirror, requester remote.Requester, where *url.URL, content *remote.Download) error {
	counted := &countingReader{Reader: content, progress: d.progress}
	err := mirror.PutBlob(ctx, requester, where, content.Of, counted)
	if err != nil {
		counted.discard()
	}
	return err
}

// blobFetch is a blob that is on its way from the source, or may be soon.
type blobFetch struct {
	begun bool
	once  func() (*remote.Download, error)
}

func (d *imageTransfer) fetch(ctx context.Context, blob manifest.Descriptor, now bool) *blobFetch {
	f := &blobFetch{begun: now, once: sync.OnceValues(func() (*remote.Download, error) { return d.source.Blob(ctx, blob) })}
	if now {
		go f.once() //nolint:errcheck // get gives the error
	}
	return f
}

func (f *blobFetch) get() (*remote.Download, error) {
	f.begun = true
	return f.once()
}

// close ends it, whether or not it was wanted.
func (f *blobFetch) close(cancel context.CancelFunc) {
	cancel()
	if !f.begun {
		return
	}
	if content, err := f.once(); err == nil {
		_ = content.Close()
	}
}
