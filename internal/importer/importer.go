// Package importer turns a Tag's source into an image by digest: resolve, mirror, reference.
package importer

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/jobs"
	"github.com/images-io/tagger/internal/reference"
)

// Registry resolves a source with the pull secrets that a namespace offers. What is malformed or too large among the secrets is returned
// beside the digest, or beside the error. The error is a Failure, that of the secrets, or one that says how long to wait
// (Deferred() time.Duration).
type Registry interface {
	Resolve(ctx context.Context, source reference.Source, secrets PullSecrets, options ResolveOptions) (digest string, malformed []error, err error)
	// UnqualifiedRegistry is the registry of images without one, empty meaning docker.io.
	UnqualifiedRegistry() string
}

// ResolveOptions say how an image is resolved.
type ResolveOptions struct {
	// NotBefore is how fresh the digest must be: it comes from a request that began then or later.
	NotBefore time.Time
	// Poll: no user waits for the digest.
	Poll bool
	// Namespace is that of the Tag.
	Namespace string
}

// Options say how a Tag is imported.
type Options struct {
	// NotBefore and Poll are as in ResolveOptions.
	NotBefore time.Time
	Poll      bool
	// RequestKey is what is requested. While an image is copied, the same request does not resolve it again.
	RequestKey string
	// Generation is that of the image.
	Generation int64
}

// Importer imports Tags. It does not wait: jobs of the queue do.
type Importer struct {
	Registry Registry
	// Secrets reads the API server: secrets are read when needed and never kept.
	Secrets client.Reader
	// Mirror is the internal registry.
	Mirror Mirror
	Jobs   *jobs.Queue

	secretLocks secretLocks
}

// Import returns the image that the Tag's source is now, and mirrors it where the Tag is cached. The error is a Failure, or the API
// server's.
func (i *Importer) Import(tag *v1.Tag, options Options) (Result, error) {
	if !tag.Spec.Cache {
		return i.Check(tag, options)
	}
	dst, err := i.destination(tag)
	if err != nil {
		return Result{}, err
	}
	resolved, err := i.Check(tag, options)
	if err != nil || resolved.State != Done {
		return resolved, err
	}
	return i.mirror(tag, options, dst, resolved)
}

// Check returns the image that the Tag's source is now, and leaves everything as it is. The error is as Import's.
func (i *Importer) Check(tag *v1.Tag, options Options) (Result, error) {
	source, err := reference.Parse(tag.Spec.From, i.Registry.UnqualifiedRegistry())
	if err != nil {
		return Result{}, failure{v1.ReasonInvalidReference, fmt.Errorf("spec.from: %w", err)}
	}
	if tag.Spec.Cache {
		if digest, ok := i.Jobs.Recall(ownerOf(tag), options.RequestKey); ok {
			return Result{Reference: source.AtDigest(digest), Digest: digest}, nil
		}
	}
	status := i.Jobs.Do(ownerOf(tag), i.resolveJob(tag.Namespace, source, options))
	result, err := stateOf(status)
	if resolved, ok := status.Value.(*resolved); ok && result.State == Done {
		result.Digest, result.Reference, result.Malformed = resolved.digest, source.AtDigest(resolved.digest), resolved.malformed
	}
	return result, err
}

// resolveTimeout bounds a resolve, the reads of pull secrets included: without it an API server that hangs would keep all jobs of a namespace.
const resolveTimeout = 2 * time.Minute

// resolved is the result of a resolve job.
type resolved struct {
	digest    string
	malformed []error
}

func (i *Importer) resolveJob(namespace string, source reference.Source, options Options) jobs.Job {
	result := &resolved{}
	resolve := ResolveOptions{NotBefore: options.NotBefore, Poll: options.Poll, Namespace: namespace}
	return jobs.Job{
		Kind: jobs.Resolve, Key: options.RequestKey, NotBefore: options.NotBefore, Registry: source.Registry(), Value: result,
		Run: func(ctx context.Context, _ jobs.Report) (err error) {
			ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
			defer cancel()
			result.digest, result.malformed, err = i.Registry.Resolve(ctx, source, i.pullSecrets(namespace), resolve)
			return err
		},
	}
}

func ownerOf(tag *v1.Tag) jobs.Owner {
	return jobs.Owner{NamespacedName: client.ObjectKeyFromObject(tag), UID: tag.UID}
}
