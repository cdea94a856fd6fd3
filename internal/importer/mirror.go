package importer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

// Mirror is the internal registry. It may be another one at any time, or none.
type Mirror interface {
	// Destination is the one that there is now. Its error is a Failure.
	Destination() (reference.Mirror, error)
	// Copy copies an image there, and returns when it is there. Its errors are Failures, but for the context's.
	Copy(ctx context.Context, order Order) (Copied, error)
	// Holds is the digest that a repository has for a tag or a digest, empty if it has none. Its errors are Failures, but for the
	// context's.
	Holds(ctx context.Context, at reference.MirrorRepository, identifier string) (digest string, err error)
	// CopyAttachments copies what was attached to an image after the image was copied. Its errors are as Copy's.
	CopyAttachments(ctx context.Context, order Order) (Copied, error)
}

// ErrDeletionForbidden is what it is to an internal registry that does not delete.
var ErrDeletionForbidden = errors.New("the internal registry forbids deletion")

// Order is what to copy, and whereto.
type Order struct {
	Source reference.Source
	Digest string
	// Secrets are the pull secrets of the namespace; only the source sees them.
	Secrets   PullSecrets
	Namespace string
	To        reference.MirrorRepository
	// Generation is the tag that the image gets there.
	Generation int64
	// Progress is told how far the copy is, from any goroutine.
	Progress func(Progress)
}

// Progress is how far a copy is. The totals are as far as manifests are known.
type Progress struct {
	Blobs, BlobsDone int
	Bytes, BytesDone int64
}

// String is what people read of it.
func (p Progress) String() string {
	if p.Blobs == 0 {
		return "mirroring"
	}
	return fmt.Sprintf("mirroring, %d of %d blobs, %d of %d MiB", p.BlobsDone, p.Blobs, p.BytesDone>>20, p.Bytes>>20)
}

// Copied is what became of the bytes of a copy, and how long it took, its waiting not included.
type Copied struct {
	Sent, Found, Mounted int64
	// Attachments is how many attachments are new in the internal registry.
	Attachments int
	Began       time.Time
	Took        time.Duration
	// Missing says which attachments of the image are missing, or may be, and why; empty if none is.
	Missing string
	// Restored: the image was missing, and was copied again. Else only attachments were copied, if anything.
	Restored bool
}

// UnderWay is an error that says nothing about a Tag yet: its image is on the way into the internal registry.
type UnderWay struct {
	// Image is what will be there. It has to be remembered before anything is: until then the copy does not begin.
	Image v1.MirroredImage
	// Begins: no event reported yet that it is in progress.
	Begins bool
	// Waits: others are copied first.
	Waits    bool
	Progress Progress
}

// Error says how far it is.
func (u *UnderWay) Error() string {
	if u.Waits {
		return "mirroring, waits for its turn"
	}
	return u.Progress.String()
}

// mirrored is the image in the internal registry, as soon as it is there.
func (i *Importer) mirrored(tag *v1.Tag, terms Terms, at reference.MirrorRepository, image Image) (Image, error) {
	image.Reference = at.AtDigest(image.Digest)
	source, err := reference.Parse(tag.Spec.From, i.Registry.UnqualifiedRegistry())
	if err != nil {
		return image, failure{v1.ReasonInvalidReference, fmt.Errorf("spec.from: %w", err)}
	}
	i.Copies.note(tag, terms.Question, image.Digest)
	wanted := v1.MirroredImage{Generation: terms.Generation, ImageReference: image.Reference}
	if !tag.Mirrors(wanted) {
		return image, &UnderWay{Image: wanted}
	}
	order := Order{Source: source, Digest: image.Digest, Namespace: tag.Namespace, To: at, Generation: terms.Generation}
	image.Copied, err = i.Copies.copy(tag, job{image: wanted, to: at, registry: source.Registry(), run: i.copyUnlessThere(order)})
	return image, err
}

// run copies an image once it is its turn.
type run func(context.Context, func(Progress)) (Copied, error)

// copyUnlessThere is one HEAD where the generation is there already, such as after a crash.
func (i *Importer) copyUnlessThere(order Order) run {
	return func(ctx context.Context, progress func(Progress)) (Copied, error) {
		digest, err := i.Mirror.Holds(ctx, order.To, strconv.FormatInt(order.Generation, 10))
		if err != nil || digest == order.Digest {
			return Copied{}, err
		}
		return i.copyAnyway(order)(ctx, progress)
	}
}

// copyAnyway has the secrets read when they are needed: they are not kept while the copy waits.
func (i *Importer) copyAnyway(order Order) run {
	return func(ctx context.Context, progress func(Progress)) (Copied, error) {
		order.Secrets = i.pullSecretsForCopy(order.Namespace)
		order.Progress = progress
		return i.Mirror.Copy(ctx, order)
	}
}

// Verify sees whether the internal registry has the generation in use, and copies it there again, by its digest, where it does not. It also
// copies what was attached to the image since. Its errors are as Import's; a Failure leaves everything as it is.
func (i *Importer) Verify(tag *v1.Tag, ref *v1.Reference) (Copied, error) {
	at, err := i.destination(tag)
	if err != nil {
		return Copied{}, err
	}
	digest, isHere := at.DigestOf(ref.ImageReference)
	if !isHere {
		return Copied{}, failure{v1.ReasonMirrorUnavailable, fmt.Errorf("%s is not in the internal registry that is configured now, %s; \"kubectl tag import %s\" imports the Tag's image again, into that one", ref.ImageReference, at, tag.Name)}
	}
	source, err := reference.Parse(ref.From, i.Registry.UnqualifiedRegistry())
	if err != nil {
		return Copied{}, failure{v1.ReasonInvalidReference, fmt.Errorf("the generation's source: %w", err)}
	}
	order := Order{Source: source, Digest: digest, Namespace: tag.Namespace, To: at, Generation: ref.Generation}
	image := v1.MirroredImage{Generation: ref.Generation, ImageReference: ref.ImageReference}
	return i.Copies.copy(tag, job{image: image, to: at, registry: source.Registry(), verifies: true, run: i.verify(order, sameImage(tag, ref))})
}

// verify copies the image where the internal registry does not have it, and else what was attached to it since.
func (i *Importer) verify(order Order, generations []int64) run {
	return func(ctx context.Context, progress func(Progress)) (Copied, error) {
		held, err := i.Mirror.Holds(ctx, order.To, order.Digest)
		switch {
		case err != nil:
			return Copied{}, err
		case held == "":
			copied, err := i.copyForAll(order, generations)(ctx, progress)
			copied.Restored = true
			return copied, err
		default:
			return i.copyAttachments(ctx, order, progress)
		}
	}
}

// copyAttachments does not fail where the source does: what runs does not depend on it.
func (i *Importer) copyAttachments(ctx context.Context, order Order, progress func(Progress)) (Copied, error) {
	order.Secrets = i.pullSecretsForCopy(order.Namespace)
	order.Progress = func(p Progress) { progress(Progress{BytesDone: p.BytesDone}) } // the image itself makes none
	copied, err := i.Mirror.CopyAttachments(ctx, order)
	var failed Failure
	if errors.As(err, &failed) && failed.Reason() != v1.ReasonMirrorUnavailable {
		copied.Missing, err = failed.Error(), nil
	}
	return copied, err
}

// sameImage are the other generations of the Tag that are the same image.
func sameImage(tag *v1.Tag, ref *v1.Reference) (generations []int64) {
	for _, other := range tag.Status.References {
		if other.Generation != ref.Generation && other.ImageReference == ref.ImageReference {
			generations = append(generations, other.Generation)
		}
	}
	return generations
}

// copyForAll copies an image, and gives it the tags of all other generations that are the same one. These send nothing.
func (i *Importer) copyForAll(order Order, generations []int64) run {
	return func(ctx context.Context, progress func(Progress)) (Copied, error) {
		copied, err := i.copyAnyway(order)(ctx, progress)
		for _, other := range generations {
			if err != nil {
				break
			}
			order.Generation = other
			_, err = i.copyAnyway(order)(ctx, progress)
		}
		return copied, err
	}
}

// destination is where the Tag is mirrored to.
func (i *Importer) destination(tag *v1.Tag) (reference.MirrorRepository, error) {
	mirror, err := i.Mirror.Destination()
	if err != nil {
		return reference.MirrorRepository{}, err
	}
	at, err := mirror.Repository(tag.Namespace, tag.Name)
	if err != nil {
		return at, failure{v1.ReasonMirrorNotConfigured, fmt.Errorf("the internal registry has no such repository: %w", err)}
	}
	return at, nil
}
