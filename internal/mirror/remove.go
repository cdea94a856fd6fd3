package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/throttle"
	"github.com/images-io/tagger/internal/transfer"
)

// deletionsAtOnce is the number of manifests of an image that are deleted concurrently.
const deletionsAtOnce = 8

// Remove deletes the tag of a generation, and its manifests with all their referrers. Manifests that a kept image needs stay:
// one platform may have been a generation, or may become one.
func (m *Mirror) Remove(ctx context.Context, tag *v1.Tag, image v1.MirroredImage, kept []string) error {
	mirror, err := m.Destination()
	if err != nil {
		return err
	}
	at, err := mirror.Repository(tag.Namespace, tag.Name)
	if err != nil {
		return err
	}
	digest, isHere := at.DigestOf(image.ImageReference)
	if !isHere {
		return fmt.Errorf("%s is not in %s: %w", image.ImageReference, at, transfer.ErrOtherRegistry)
	}
	to := m.repository(at)
	untagged := m.client.Untag(ctx, to, strconv.FormatInt(image.Generation, 10))
	if throttle.IsThrottled(untagged) {
		return untagged
	}
	levels, err := m.client.ListManifests(ctx, to, kept...)
	if err != nil {
		return err
	}
	needed := slices.Concat(levels...)
	if slices.Contains(needed, digest) {
		return unlessForbidden(untagged) // it is deleted with the last image that needs it
	}
	if err := m.delete(ctx, to, digest, needed); err != nil {
		return err
	}
	return m.removeAttached(ctx, to, digest, needed)
}

// delete deletes the manifests of an image, apart from those that are needed: the image's own first, then those that it names.
// Some registries refuse to delete a manifest that an index names. A tag that remains always has a complete image.
func (m *Mirror) delete(ctx context.Context, to registry.Destination, image string, needed []string) error {
	levels, err := m.client.ListManifests(ctx, to, image)
	if err != nil {
		return err
	}
	for _, level := range levels {
		group, deleting := errgroup.WithContext(ctx)
		group.SetLimit(deletionsAtOnce)
		for _, digest := range level {
			if !slices.Contains(needed, digest) {
				group.Go(func() error { return m.client.Delete(deleting, to, digest) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// removeAttached deletes the referrers of a deleted image that have tags. Those that are also needed stay.
func (m *Mirror) removeAttached(ctx context.Context, to registry.Destination, image string, needed []string) error {
	for _, name := range manifest.AttachmentTags(image) {
		attached, err := m.client.Head(ctx, to, name)
		switch {
		case err != nil || attached == "":
		case slices.Contains(needed, attached):
			err = unlessForbidden(m.client.Untag(ctx, to, name))
		default:
			err = m.delete(ctx, to, attached, needed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func unlessForbidden(err error) error {
	if errors.Is(err, transfer.ErrDeletionForbidden) {
		return nil
	}
	return err
}
