// Package importer turns a Tag's source into an image by digest: resolve, mirror, reference.
package importer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

// Registry asks a registry which digest a source has now, with the pull secrets that a namespace offers. What is
// malformed or too large among the secrets comes back beside the digest, or beside the error, which is a Failure, or that of
// the secrets.
//
// It never waits for its turn: an error may be a Postponed, too. Turn says beforehand, and cheaply, whether asking is in vain.
type Registry interface {
	Turn(ctx context.Context, source reference.Source) error
	Resolve(ctx context.Context, source reference.Source, secrets PullSecrets, terms Terms) (digest string, malformed []error, err error)
	// UnqualifiedRegistry is the registry of images without one, empty meaning docker.io.
	UnqualifiedRegistry() string
}

// Failure is an error that knows what it means for a Tag.
type Failure interface {
	error
	// Reason is the condition reason, and the value of the metric's label.
	Reason() v1.Reason
}

// Postponed is an error that says nothing about a Tag: it was not its turn at the registry.
type Postponed interface {
	error
	// Postponed is how long to wait, with jitter in it.
	Postponed() time.Duration
}

// RetryAfter returns how long not to retry after a failure; 0 when it does not say.
func RetryAfter(err error) time.Duration {
	var patient interface{ RetryAfter() time.Duration }
	if !errors.As(err, &patient) {
		return 0
	}
	return patient.RetryAfter()
}

// Terms say how a registry is asked.
type Terms struct {
	// NotBefore is how fresh the answer must be: no older than that.
	NotBefore time.Time
	// Poll: no request waits for the answer.
	Poll bool
	// Namespace is for whom; the Importer says it.
	Namespace string
	// Question is what is asked. While an image is on its way into the internal registry, the same question is not asked again.
	Question string
	// Generation is what the image is imported as.
	Generation int64
}

// Image is what an import found.
type Image struct {
	// Reference is the image by digest, as workloads get it.
	Reference string
	// Digest is the image's own.
	Digest string
	// Malformed names the pull secrets that could not be read, or are too large.
	Malformed []error
	// Copied is what it took to mirror it.
	Copied Copied
}

// Importer imports Tags.
type Importer struct {
	Registry Registry
	// Secrets reads the API server: secrets are read when needed and never kept.
	Secrets client.Reader
	// Mirror is the internal registry, and Copies are those into it.
	Mirror Mirror
	Copies *Copies

	secretLocks secretLocks
}

// Import finds the image that the Tag's source is now, and mirrors it where the Tag is cached. Its errors are Failures, Postponed
// or *UnderWay, but for those of the API server.
func (i *Importer) Import(ctx context.Context, tag *v1.Tag, terms Terms) (Image, error) {
	if !tag.Spec.Cache {
		return i.Check(ctx, tag, terms)
	}
	at, err := i.destination(tag)
	if err != nil {
		return Image{}, err
	}
	image, err := i.Check(ctx, tag, terms)
	if err != nil {
		return image, err
	}
	return i.mirrored(tag, terms, at, image)
}

// Check asks the registry which image the Tag's source is now, and leaves everything as it is.
func (i *Importer) Check(ctx context.Context, tag *v1.Tag, terms Terms) (Image, error) {
	source, err := reference.Parse(tag.Spec.From, i.Registry.UnqualifiedRegistry())
	if err != nil {
		return Image{}, failure{v1.ReasonInvalidReference, fmt.Errorf("spec.from: %w", err)}
	}
	if tag.Spec.Cache {
		if digest, ok := i.Copies.noted(tag, terms.Question); ok {
			return Image{Reference: source.AtDigest(digest), Digest: digest}, nil
		}
	}
	if err := i.Registry.Turn(ctx, source); err != nil {
		return Image{}, err
	}
	terms.Namespace = tag.Namespace
	digest, malformed, err := i.Registry.Resolve(ctx, source, i.pullSecrets(tag.Namespace), terms)
	return Image{Reference: source.AtDigest(digest), Digest: digest, Malformed: malformed}, err
}

type failure struct {
	reason v1.Reason
	error
}

func (f failure) Reason() v1.Reason { return f.reason }
func (f failure) Unwrap() error     { return f.error }
