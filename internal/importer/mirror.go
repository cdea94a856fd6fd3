package importer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/jobs"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/transfer"
)

// Mirror is the internal registry. It may be another one at any time, or none.
type Mirror interface {
	// Destination is the one that there is now. Its error is a Failure.
	Destination() (reference.Mirror, error)
	// Copy copies an image there, and returns when it is there. Its errors are Failures, but for the context's.
	Copy(ctx context.Context, request CopyRequest) (transfer.CopyResult, error)
	// Head returns the digest that a repository has for a tag or a digest, empty if it has none. Its errors are Failures, but for the
	// context's.
	Head(ctx context.Context, dst reference.MirrorRepository, identifier string) (digest string, err error)
	// CopyAttachments copies what was attached to an image after the image was copied. Its errors are as Copy's.
	CopyAttachments(ctx context.Context, request CopyRequest) (transfer.CopyResult, error)
}

// CopyRequest is what to copy, and where to.
type CopyRequest struct {
	Source reference.Source
	Digest string
	// Secrets are the pull secrets of the namespace; only the source sees them.
	Secrets     PullSecrets
	Namespace   string
	Destination reference.MirrorRepository
	// Generation is the tag that the image gets there.
	Generation int64
	// Report is called with how far the copy is, from any goroutine.
	Report jobs.Report
}

// mirror returns the image in the internal registry, as soon as it is there.
func (i *Importer) mirror(tag *v1.Tag, options Options, dst reference.MirrorRepository, result Result) (Result, error) {
	source, err := reference.Parse(tag.Spec.From, i.Registry.UnqualifiedRegistry())
	if err != nil {
		return result, failure{v1.ReasonInvalidReference, fmt.Errorf("spec.from: %w", err)}
	}
	i.Jobs.Remember(ownerOf(tag), options.RequestKey, result.Digest)
	result.Reference = dst.AtDigest(result.Digest)
	wanted := v1.MirroredImage{Generation: options.Generation, ImageReference: result.Reference}
	if !tag.Mirrors(wanted) {
		result.State, result.Mirroring = InProgress, &Mirroring{Image: wanted}
		return result, nil
	}
	request := CopyRequest{Source: source, Digest: result.Digest, Namespace: tag.Namespace, Destination: dst, Generation: options.Generation}
	copied := &CopyResult{}
	status := i.Jobs.Do(ownerOf(tag), copyJob(jobs.Copy, request, wanted, copied, i.copyUnlessThere(request, copied)))
	return copyResult(result, wanted, status)
}

// copyResult adds the state of a copy to the result.
func copyResult(result Result, image v1.MirroredImage, status jobs.Status) (Result, error) {
	state, err := stateOf(status)
	result.State, result.RetryAfter = state.State, state.RetryAfter
	if state.State == InProgress {
		result.Mirroring = &Mirroring{Image: image, IsNew: status.IsNew, Waits: status.Waits, Progress: status.Progress}
	}
	if copied, ok := status.Value.(*CopyResult); ok && state.State == Done {
		result.Copy = *copied
		result.Copy.Began, result.Copy.Took = status.Began, status.Took
		result.Took += status.Took
	}
	return result, err
}

// forgetsDigest reports whether another try resolves the image anew: the source does not have it, or it is not an image, so it may have become
// another one. After other errors the same image is copied.
func forgetsDigest(err error) bool {
	var failed Failure
	return err == nil || errors.As(err, &failed) && (failed.Reason() == v1.ReasonNotFound || failed.Reason() == v1.ReasonInvalidContent)
}

// copyJob makes the job of a copy or a verification.
func copyJob(kind jobs.Kind, request CopyRequest, image v1.MirroredImage, result *CopyResult, run func(context.Context, jobs.Report) error) jobs.Job {
	return jobs.Job{
		Kind: kind, Key: copyKey(image, request.Destination), Registry: request.Source.Registry(), Generation: image.Generation, Value: result, Run: run,
		Forgets: forgetsDigest,
	}
}

// copyKey identifies a copy: where it is written may change while nodes read from the same address.
func copyKey(image v1.MirroredImage, dst reference.MirrorRepository) string {
	return fmt.Sprint(image.Generation, " ", image.ImageReference, " ", dst)
}

// Wants reports whether a Tag has an image in its history, or is to import it: to move there, or, where it was rolled back, beside.
func Wants(tag *v1.Tag, generation int64, key string) bool {
	if ref := tag.Reference(generation); ref != nil {
		return strings.HasPrefix(key, fmt.Sprint(generation, " ", ref.ImageReference, " "))
	}
	newest, wanted := tag.Newest(), tag.WantedGeneration()
	isBeside := newest != nil && wanted < newest.Generation && generation == newest.Generation+1
	return tag.Spec.Cache && (generation == wanted || isBeside)
}

// copyUnlessThere takes one HEAD where the generation is there already, such as after a crash.
func (i *Importer) copyUnlessThere(request CopyRequest, result *CopyResult) func(context.Context, jobs.Report) error {
	return func(ctx context.Context, report jobs.Report) error {
		digest, err := i.Mirror.Head(ctx, request.Destination, strconv.FormatInt(request.Generation, 10))
		if err != nil || digest == request.Digest {
			return err
		}
		result.CopyResult, err = i.copy(ctx, request, report)
		return err
	}
}

// copy reads the secrets when they are needed: they are not kept while the copy waits.
func (i *Importer) copy(ctx context.Context, request CopyRequest, report jobs.Report) (transfer.CopyResult, error) {
	request.Secrets, request.Report = i.pullSecrets(request.Namespace), report
	return i.Mirror.Copy(ctx, request)
}

// Verify checks whether the internal registry has the generation in use, and copies it there again, by its digest, where it does not. It
// also copies what was attached to the image since. Its errors are as Import's; a Failure leaves everything as it is.
func (i *Importer) Verify(tag *v1.Tag, ref *v1.Reference) (Result, error) {
	dst, err := i.destination(tag)
	if err != nil {
		return Result{}, err
	}
	digest, isHere := dst.DigestOf(ref.ImageReference)
	if !isHere {
		return Result{}, failure{v1.ReasonMirrorUnavailable, fmt.Errorf("%s is not in the internal registry that is configured now, %s; \"kubectl tag import %s\" imports the Tag's image again, into that one", ref.ImageReference, dst, tag.Name)}
	}
	source, err := reference.Parse(ref.From, i.Registry.UnqualifiedRegistry())
	if err != nil {
		return Result{}, failure{v1.ReasonInvalidReference, fmt.Errorf("the generation's source: %w", err)}
	}
	request := CopyRequest{Source: source, Digest: digest, Namespace: tag.Namespace, Destination: dst, Generation: ref.Generation}
	image := v1.MirroredImage{Generation: ref.Generation, ImageReference: ref.ImageReference}
	result := &CopyResult{}
	status := i.Jobs.Do(ownerOf(tag), copyJob(jobs.Verify, request, image, result, i.verify(request, sameImage(tag, ref), result)))
	return copyResult(Result{}, image, status)
}

// verify copies the image where the internal registry does not have it, and else what was attached to it since.
func (i *Importer) verify(request CopyRequest, generations []int64, result *CopyResult) func(context.Context, jobs.Report) error {
	return func(ctx context.Context, report jobs.Report) error {
		held, err := i.Mirror.Head(ctx, request.Destination, request.Digest)
		switch {
		case err != nil:
			return err
		case held == "":
			result.Restored = true
			result.CopyResult, err = i.copyForAll(ctx, request, generations, report)
			return err
		default:
			result.CopyResult, err = i.copyAttachments(ctx, request, report)
			return err
		}
	}
}

// copyAttachments copies the attachments of an image. An error of the source is no failure: what runs does not depend on it.
func (i *Importer) copyAttachments(ctx context.Context, request CopyRequest, report jobs.Report) (transfer.CopyResult, error) {
	request.Secrets = i.pullSecrets(request.Namespace)
	request.Report = func(p transfer.Progress) { report(transfer.Progress{BytesDone: p.BytesDone}) } // the image itself makes none
	copied, err := i.Mirror.CopyAttachments(ctx, request)
	var failed Failure
	if errors.As(err, &failed) && failed.Reason() != v1.ReasonMirrorUnavailable {
		copied.Missing, err = failed.Error(), nil
	}
	return copied, err
}

// sameImage returns the other generations of the Tag that are the same image.
func sameImage(tag *v1.Tag, ref *v1.Reference) (generations []int64) {
	for _, other := range tag.Status.References {
		if other.Generation != ref.Generation && other.ImageReference == ref.ImageReference {
			generations = append(generations, other.Generation)
		}
	}
	return generations
}

// copyForAll copies an image, and gives it the tags of all other generations that are the same one. These send nothing.
func (i *Importer) copyForAll(ctx context.Context, request CopyRequest, generations []int64, report jobs.Report) (transfer.CopyResult, error) {
	copied, err := i.copy(ctx, request, report)
	for _, other := range generations {
		if err != nil {
			break
		}
		request.Generation = other
		_, err = i.copy(ctx, request, report)
	}
	return copied, err
}

// destination returns where the Tag is mirrored to.
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
