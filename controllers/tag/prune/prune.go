package prune

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/imageuse"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/transfer"
)

// timeout bounds one attempt. It is longer than a registry is given for the header of its response, so that one that does not
// respond counts as failing, and gets no requests for a while.
const timeout = 20 * time.Second

// Registry deletes images from the internal registry.
type Registry interface {
	// Remove deletes a generation of a Tag: its tag, and its manifests, except those of the digests in kept. It returns nil if they
	// are deleted already, transfer.ErrDeletionForbidden if the registry does not delete, and transfer.ErrOtherRegistry if the image
	// is in another registry. The error has a method Deferred while another request checks whether the registry works again.
	Remove(ctx context.Context, tag *v1.Tag, image v1.MirroredImage, kept []string) error
}

// Pruner deletes images of Tags from the internal registry.
type Pruner struct {
	// Live reads the API server: a cache that is behind must not delete anything.
	Live     client.Reader
	Registry Registry

	// reads bounds the memory for what namespaces run: one prune at a time reads it.
	reads importer.NamespaceLock
}

// Result is what a prune did.
type Result struct {
	// Gone are the generations that the registry does not have any more.
	Gone []int64
	// Forbidden are those that the registry refuses to delete.
	Forbidden []v1.MirroredImage
	// Elsewhere are those of another registry than the one that is configured.
	Elsewhere []v1.MirroredImage
	// Used are those that are still in use, with their users.
	Used []string
	// Failed are those that could not be deleted, with the error.
	Failed []string
	// Deferred reports that another request checks whether the registry works again, so the other images were not tried.
	Deferred bool
}

// Left returns the images that a later attempt may delete.
func (r Result) Left() []string { return slices.Concat(r.Used, r.Failed) }

// Denied returns the images that Tagger cannot delete.
func (r Result) Denied() []v1.MirroredImage { return slices.Concat(r.Forbidden, r.Elsewhere) }

// Prune deletes those images of a Tag that neither a workload of its namespace, nor another Tag, nor its other generations use.
// It returns ErrBusy while another prune reads what a namespace uses, and other errors of the API server.
func (p *Pruner) Prune(ctx context.Context, tag *v1.Tag, images []v1.MirroredImage) (Result, error) {
	used, err := p.usedImages(ctx, tag)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	imageuse.MarkUseByTag(used, tag)
	var result Result
	kept := retained(tag, images, used)
	for _, image := range images {
		if user, isUsed := used[imageuse.MirrorKey(image.ImageReference)]; isUsed {
			result.Used = append(result.Used, fmt.Sprintf("%s, which %s uses", image.ImageReference, user))
			continue
		}
		if result.add(image, p.Registry.Remove(ctx, tag, image, kept)); result.Deferred {
			break
		}
	}
	return result, nil
}

// add records how the deletion of an image ended.
func (r *Result) add(image v1.MirroredImage, err error) {
	var later interface{ Deferred() time.Duration }
	switch {
	case errors.As(err, &later):
		r.Deferred = true
	case err == nil:
		r.Gone = append(r.Gone, image.Generation)
	case errors.Is(err, transfer.ErrDeletionForbidden):
		r.Forbidden = append(r.Forbidden, image)
	case errors.Is(err, transfer.ErrOtherRegistry):
		r.Elsewhere = append(r.Elsewhere, image)
	default:
		r.Failed = append(r.Failed, fmt.Sprintf("%s: %v", image.ImageReference, describeTimeout(err)))
	}
}

// describeTimeout says in words that the time for an attempt was over; any other error is itself.
func describeTimeout(err error) error {
	var failure importer.Failure
	if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &failure) {
		return fmt.Errorf("it is not done within %s", timeout)
	}
	return err
}

// retained returns the digests that stay in the Tag's repository when images go: those of all other generations, and what is used of it.
func retained(tag *v1.Tag, images []v1.MirroredImage, used map[string]string) []string {
	needed := sets.KeySet(used)
	for _, other := range tag.Status.Mirrored {
		if !slices.Contains(images, other) {
			needed.Insert(imageuse.MirrorKey(other.ImageReference))
		}
	}
	var digests []string
	for _, name := range sets.List(needed) {
		if digest, isHere := strings.CutPrefix(name, tag.Namespace+"/"+tag.Name+"@"); isHere {
			digests = append(digests, digest)
		}
	}
	return digests
}
