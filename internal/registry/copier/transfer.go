package copier

import (
	"context"
	"errors"
	"net/url"
	"sync"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/remote"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/images-io/tagger/internal/registry/regerr"
)

const (
	// largeBlob is from which size on, in bytes, a blob takes the place of smallPerLarge small ones: with those it is the
	// answers that take the time, and with large ones the bytes.
	largeBlob     = 8 << 20
	smallPerLarge = 4
)

// delivery brings the blobs and manifests of one image, and of what is attached to it, from its source to the mirror.
type delivery struct {
	source remote.Source
	mirror remote.Mirror
	// namespace is who asks.
	namespace string
	tally     *Tally
	room      *semaphore.Weighted

	// blobs and manifests are apart, for a manifest may also be named as a blob.
	blobs, manifests parcels
}

func newDelivery(from remote.Source, to remote.Mirror, namespace string, blobs int, tally *Tally) *delivery {
	return &delivery{
		source: from, mirror: to, namespace: namespace, tally: tally,
		room: semaphore.NewWeighted(int64(blobs * smallPerLarge)),
	}
}

// bring brings all blobs of a tree, and all manifests but the last one. A manifest comes after all that it names.
func (d *delivery) bring(ctx context.Context, t *tree) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.bringBlobs(ctx, group, t) })
	for _, n := range t.ordered {
		if n.IsLast {
			continue
		}
		if p, isMine := d.manifests.take(n.Digest); isMine {
			group.Go(func() error { return d.bringManifest(ctx, n, p) })
		}
	}
	return group.Wait()
}

// bringBlobs begins with the next blob when there is room.
func (d *delivery) bringBlobs(ctx context.Context, group *errgroup.Group, t *tree) error {
	blobs, parcels := d.takeBlobs(t)
	d.tally.expect(blobs)
	for i, blob := range blobs {
		weight := weightOf(blob)
		if err := d.room.Acquire(ctx, weight); err != nil {
			return err
		}
		group.Go(func() error {
			defer d.room.Release(weight)
			return d.bringBlob(ctx, blob, parcels[i])
		})
	}
	return nil
}

// takeBlobs are the blobs of a tree that nobody brings yet.
func (d *delivery) takeBlobs(t *tree) (blobs []manifest.Descriptor, parcels []*parcel) {
	for _, n := range t.ordered {
		for _, blob := range n.Blobs {
			if p, isMine := d.blobs.take(blob.Digest); isMine {
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

func (d *delivery) bringManifest(ctx context.Context, n *manifest.Node, p *parcel) (err error) {
	if err := d.await(ctx, n); err != nil {
		return err
	}
	if p.noted, err = d.mirror.Put(ctx, n, n.Digest.String()); err != nil {
		return err
	}
	close(p.arrived)
	return nil
}

// await waits for all that a manifest names.
func (d *delivery) await(ctx context.Context, n *manifest.Node) error {
	for _, blob := range n.Blobs {
		if err := d.blobs.await(ctx, blob.Digest); err != nil {
			return err
		}
	}
	return d.arrived(ctx, n.Children)
}

// arrived waits for manifests, whoever brings them.
func (d *delivery) arrived(ctx context.Context, nodes []*manifest.Node) error {
	for _, n := range nodes {
		if err := d.manifests.await(ctx, n.Digest); err != nil {
			return err
		}
	}
	return nil
}

// bringBlob mounts, finds or sends a blob. A blob that the mirror does not let us mount is sent.
func (d *delivery) bringBlob(ctx context.Context, blob manifest.Descriptor, p *parcel) error {
	from, isKnown := d.mirror.Placements.From(d.mirror.At, d.namespace, blob.Digest)
	how, err := d.transfer(ctx, d.mirror.Mounting(from), blob, isKnown)
	if from != "" && d.mirror.GivesUpMounting(err) {
		how, err = d.transfer(ctx, d.mirror, blob, false)
	}
	if err != nil {
		return err
	}
	if how == remote.WasFound {
		d.mirror.Placements.Found(d.mirror.At, blob.Digest)
	} else {
		d.mirror.Placements.Put(d.mirror.At, d.namespace, blob.Digest)
	}
	d.tally.arrived(how, blob.Size)
	close(p.arrived)
	return nil
}

// transfer asks the mirror where to send a blob and, unless the mirror should have it already, the source for its content at the same
// time. Where the mirror wants another token in the middle, all of it is done once more.
func (d *delivery) transfer(ctx context.Context, to remote.Mirror, blob manifest.Descriptor, isKnown bool) (how remote.Outcome, err error) {
	var failure error // of the source
	err = to.Patiently(ctx, func(ctx context.Context, with remote.Requester) error {
		ctx, cancel := context.WithCancel(ctx)
		coming := d.fetch(ctx, blob, !isKnown)
		defer coming.leave(cancel)
		where, was, err := to.Offer(ctx, with, blob)
		if how = was; err != nil || where == nil {
			return err
		}
		content, err := coming.get()
		if err != nil {
			failure = err
			return regerr.ErrAtSource
		}
		err = d.send(ctx, to, with, where, content)
		switch {
		case errors.Is(err, regerr.ErrAtSource):
			failure = err
		case isInvalidDigest(err):
			failure = manifest.ErrWrongDigest
		}
		return err
	})
	if failure != nil {
		return how, regerr.WithText(d.source.Explain(failure), "; this is about the blob "+blob.Digest.String())
	}
	return how, to.Fault(err)
}

// isInvalidDigest reports whether a registry refused content for its digest (distribution-spec, "Error Codes").
func isInvalidDigest(err error) bool { return regerr.HasCode(err, ggcr.DigestInvalidErrorCode) }

// send sends a blob, and counts what is sent. The registry that stores it compares its digest (distribution-spec, "Pushing Blobs"), and so
// does the node that pulls it: Tagger does not.
func (d *delivery) send(ctx context.Context, to remote.Mirror, with remote.Requester, where *url.URL, content *remote.Download) error {
	counted := &counter{Reader: content, tally: d.tally}
	err := to.Send(ctx, with, where, content.Of, counted)
	if err != nil {
		counted.undo()
	}
	return err
}

// fetching is a blob that is on its way from the source, or may be soon.
type fetching struct {
	begun bool
	once  func() (*remote.Download, error)
}

func (d *delivery) fetch(ctx context.Context, blob manifest.Descriptor, now bool) *fetching {
	f := &fetching{begun: now, once: sync.OnceValues(func() (*remote.Download, error) { return d.source.Blob(ctx, blob) })}
	if now {
		go f.once() //nolint:errcheck // get gives the error
	}
	return f
}

func (f *fetching) get() (*remote.Download, error) {
	f.begun = true
	return f.once()
}

// leave ends it, whether or not it was wanted.
func (f *fetching) leave(cancel context.CancelFunc) {
	cancel()
	if !f.begun {
		return
	}
	if content, err := f.once(); err == nil {
		_ = content.Close()
	}
}
