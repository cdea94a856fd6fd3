package pin

import (
	"cmp"
	"maps"
	"slices"

	"github.com/images-io/tagger/internal/reference"
)

// entry returns the record of a field: the stored one, not one that an undo brings back. The entry in the request counts if
// none is stored, if Tagger sent the request, or if the image changes to the current image of the entry's Tag: that is a
// reinvocation, or the undo of a switch between Tags.
func (a *admission) entry(f ImageField) (Entry, bool, error) {
	stored, isStored := a.storedEntry(f)
	brought, isBrought := a.brought[f.Key]
	switch {
	case !isBrought || mayNameTag(brought.Image) || !isRecorded(*f.Image, a.Namespace, brought):
		return stored, isStored, nil
	case !isStored || a.Trusted || brought.Tag == stored.Tag && brought.Image == stored.Image:
		return brought, true, nil
	case brought.Tag != stored.Tag:
		return a.switched(f, stored, brought)
	}
	tag, exists, err := a.Lookup(brought.Tag)
	if err == nil && exists && tag.Image == brought.Image {
		return brought, true, nil
	}
	return stored, true, err
}

// storedEntry returns the stored record of a field. A new field with the recorded image of a removed field takes over its
// entry: it was renamed.
func (a *admission) storedEntry(f ImageField) (Entry, bool) {
	stored, isStored := a.stored[f.Key]
	if _, existed := a.old[f.Key]; !isStored && !existed {
		stored, isStored = a.renamed[imageIdentity(*f.Image)]
	}
	return stored, isStored
}

// disappeared returns the stored entries of the fields that the new object lacks, by imageIdentity; of several with one image
// the one with the first key.
func (a *admission) disappeared() map[string]Entry {
	left := maps.Clone(a.stored)
	for _, f := range a.fields {
		delete(left, f.Key)
	}
	gone := map[string]Entry{}
	for _, key := range slices.Sorted(maps.Keys(left)) {
		identity := imageIdentity(left[key].Image)
		if _, taken := gone[identity]; !taken {
			gone[identity] = left[key]
		}
	}
	return gone
}

// imageIdentity returns the digest of an image, or the image itself if it has none.
func imageIdentity(image string) string {
	_, digest, _ := reference.Split(image)
	return cmp.Or(digest, image)
}

// switched decides between the stored Tag and another one in the request's record.
func (a *admission) switched(f ImageField, stored, brought Entry) (Entry, bool, error) {
	tag, exists, err := a.Lookup(brought.Tag)
	switch {
	case err != nil:
		return stored, true, err
	case tag.imageOrPlaceholder(a.Namespace, brought.Tag) == brought.Image:
		return brought, true, nil
	case !exists:
		return stored, true, nil
	}
	stays, err := follows(*f.Image, a.Namespace, stored, a.Lookup)
	if err != nil || stays {
		return stored, true, err
	}
	if returns, err := isDigestOf(*f.Image, brought, a.Lookup); err != nil || !returns {
		return stored, true, err
	}
	return Entry{Tag: brought.Tag, Image: cmp.Or(tag.Image, *f.Image), PullPolicy: brought.PullPolicy}, true, nil
}
