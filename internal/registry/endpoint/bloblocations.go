package endpoint

import (
	"time"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// maxLocations bounds of how many blobs it is remembered where they are.
const maxLocations = 16384

// BlobLocations remember which blobs this process put where, so that they are mounted from there: only within a namespace, and
// only what was put.
type BlobLocations struct {
	// kept is from registry, namespace and digest to the repository that the blob was put into last.
	kept *lru.Cache
	// held are the blobs that a repository had the last time.
	held *lru.Cache
	// attached is what became of the attachments of images, by repository, digest and tag.
	attached *cache.LRUExpireCache
	Features *Features
}

// NewBlobLocations returns an empty cache.
func NewBlobLocations(clock clock.PassiveClock, features *Features) *BlobLocations {
	return &BlobLocations{
		kept: lru.New(maxLocations), held: lru.New(maxLocations), attached: cache.NewLRUExpireCacheWithClock(maxLocations, clock),
		Features: features,
	}
}

// RecordUpload notes that a blob is in a repository because we put it there.
func (p *BlobLocations) RecordUpload(ep Endpoint, namespace string, blob digest.Digest) {
	p.kept.Add(uploadKey(ep, namespace, blob), ep.Repository)
	p.RecordExists(ep, blob)
}

// RecordExists notes that a blob is in a repository.
func (p *BlobLocations) RecordExists(ep Endpoint, blob digest.Digest) {
	p.held.Add(blobKey(ep, blob), nil)
}

// Forget notes that a blob is not there.
func (p *BlobLocations) Forget(ep Endpoint, blob digest.Digest) {
	p.held.Remove(blobKey(ep, blob))
}

// IsHeld says whether the repository had the blob the last time.
func (p *BlobLocations) IsHeld(ep Endpoint, blob digest.Digest) bool {
	_, known := p.held.Get(blobKey(ep, blob))
	return known
}

// artifactLifetime is for how long it is remembered what became of an attachment. After that it is copied, or found, again.
const artifactLifetime = 24 * time.Hour

// RecordArtifact notes that an attachment was copied into a repository, or is refused there. The tag is empty for one that names its image.
func (p *BlobLocations) RecordArtifact(ep Endpoint, tag string, dgst digest.Digest, refusal error) {
	p.attached.Add(blobKey(ep, dgst)+" "+tag, refusal, artifactLifetime)
}

// ForgetArtifact drops what is known of an attachment.
func (p *BlobLocations) ForgetArtifact(ep Endpoint, tag string, dgst digest.Digest) {
	p.attached.Remove(blobKey(ep, dgst) + " " + tag)
}

// Artifact returns what became of an attachment: whether that is known, and why the repository refuses it. One that vanished there since
// is known, too.
func (p *BlobLocations) Artifact(ep Endpoint, tag string, dgst digest.Digest) (refusal error, isKnown bool) {
	kept, isKnown := p.attached.Get(blobKey(ep, dgst) + " " + tag)
	refusal, _ = kept.(error)
	return refusal, isKnown
}

// Candidate returns the repository of the namespace to mount a blob from, empty for the very same. isKnown: the blob should be there.
func (p *BlobLocations) Candidate(ep Endpoint, namespace string, blob digest.Digest) (repository string, isKnown bool) {
	if p.IsHeld(ep, blob) {
		return "", true
	}
	kept, _ := p.kept.Get(uploadKey(ep, namespace, blob))
	repository, isKnown = kept.(string)
	if !isKnown || repository == ep.Repository || p.mountsNot(ep) {
		return "", false
	}
	return repository, true
}

// mountsNot reports whether the registry is known not to mount blobs.
func (p *BlobLocations) mountsNot(ep Endpoint) bool {
	mounts, isKnown := p.Features.Has(MountsKey(ep))
	return isKnown && !mounts
}

// MountsKey returns the key of whether the registry mounts blobs.
func MountsKey(ep Endpoint) FeatureKey {
	return FeatureKey{Kind: FeatureMounts, Registry: ep.Address()}
}

func uploadKey(ep Endpoint, namespace string, blob digest.Digest) string {
	return ep.Address() + " " + namespace + " " + blob.String()
}

func blobKey(ep Endpoint, blob digest.Digest) string {
	return ep.Address() + "/" + ep.Repository + " " + blob.String()
}
