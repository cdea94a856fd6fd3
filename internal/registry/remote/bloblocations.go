package remote

import (
	"time"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/endpoint"
)

// maxPlacements bounds of how many blobs it is remembered where they are.
const maxPlacements = 16384

// Placements remember which blobs this process put where, so that they are mounted from there: only within a namespace, and
// only what was put.
type Placements struct {
	// kept is from registry, namespace and digest to the repository that the blob was put into last.
	kept *lru.Cache
	// held are the blobs that a repository had the last time.
	held *lru.Cache
	// attached is what became of the attachments of images, by repository, digest and tag.
	attached *cache.LRUExpireCache
	features *endpoint.Features
}

func NewPlacements(clock clock.PassiveClock, features *endpoint.Features) *Placements {
	return &Placements{
		kept: lru.New(maxPlacements), held: lru.New(maxPlacements), attached: cache.NewLRUExpireCacheWithClock(maxPlacements, clock),
		features: features,
	}
}

// Put notes that a blob is in a repository because we put it there.
func (p *Placements) Put(at endpoint.Location, namespace string, blob digest.Digest) {
	p.kept.Add(placementKey(at, namespace, blob), at.Repository)
	p.Found(at, blob)
}

// Found notes that a blob is in a repository.
func (p *Placements) Found(at endpoint.Location, blob digest.Digest) {
	p.held.Add(heldKey(at, blob), nil)
}

// lost notes that a blob is not there.
func (p *Placements) lost(at endpoint.Location, blob digest.Digest) { p.held.Remove(heldKey(at, blob)) }

// isHeld says whether the repository had the blob the last time.
func (p *Placements) isHeld(at endpoint.Location, blob digest.Digest) bool {
	_, known := p.held.Get(heldKey(at, blob))
	return known
}

// attachmentsHold is for how long it is remembered what became of an attachment. After that it is copied, or found, again.
const attachmentsHold = 24 * time.Hour

// NoteAttachment notes that an attachment was copied into a repository, or is refused there. The tag is empty for one that names its image.
func (p *Placements) NoteAttachment(at endpoint.Location, tag string, of digest.Digest, refusal error) {
	p.attached.Add(heldKey(at, of)+" "+tag, refusal, attachmentsHold)
}

// ForgetAttachment drops what is known of an attachment.
func (p *Placements) ForgetAttachment(at endpoint.Location, tag string, of digest.Digest) {
	p.attached.Remove(heldKey(at, of) + " " + tag)
}

// Attachment returns what became of an attachment: whether that is known, and why the repository refuses it. One that vanished there since
// is known, too.
func (p *Placements) Attachment(at endpoint.Location, tag string, of digest.Digest) (refusal error, isKnown bool) {
	kept, isKnown := p.attached.Get(heldKey(at, of) + " " + tag)
	refusal, _ = kept.(error)
	return refusal, isKnown
}

// From is the repository of the namespace to mount a blob from, empty for the very same. isKnown: the blob should be there.
func (p *Placements) From(at endpoint.Location, namespace string, blob digest.Digest) (repository string, isKnown bool) {
	if p.isHeld(at, blob) {
		return "", true
	}
	kept, _ := p.kept.Get(placementKey(at, namespace, blob))
	repository, isKnown = kept.(string)
	if !isKnown || repository == at.Repository || p.mountsNot(at) {
		return "", false
	}
	return repository, true
}

// mountsNot reports whether the registry is known not to mount blobs.
func (p *Placements) mountsNot(at endpoint.Location) bool {
	mounts, isKnown := p.features.Has(mountsKey(at))
	return isKnown && !mounts
}

// mountsKey is the key of whether the registry mounts blobs.
func mountsKey(at endpoint.Location) endpoint.FeatureKey {
	return endpoint.FeatureKey{Kind: endpoint.FeatureMounts, Registry: at.Address()}
}

func placementKey(at endpoint.Location, namespace string, blob digest.Digest) string {
	return at.Address() + " " + namespace + " " + blob.String()
}

func heldKey(at endpoint.Location, blob digest.Digest) string {
	return at.Address() + "/" + at.Repository + " " + blob.String()
}
