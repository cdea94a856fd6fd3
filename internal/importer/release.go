package importer

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// Release cancels the copy for a Tag that does not want that image any more.
func (c *Copies) Release(tag *v1.Tag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.tags[keyOf(tag)]
	if known == nil || known.uid == tag.UID && (known.job == nil || wants(tag, known.job.image)) {
		return
	}
	c.drop(known)
	delete(c.tags, keyOf(tag))
}

// wants says whether a Tag has the image in its history, or is to import it: to move there, or, where it was rolled back, beside.
func wants(tag *v1.Tag, image v1.MirroredImage) bool {
	if ref := tag.Reference(image.Generation); ref != nil {
		return ref.ImageReference == image.ImageReference
	}
	newest, wanted := tag.Newest(), tag.WantedGeneration()
	isBeside := newest != nil && wanted < newest.Generation && image.Generation == newest.Generation+1
	return tag.Spec.Cache && (image.Generation == wanted || isBeside)
}

// Forget cancels the copy for a Tag. It says whether that has ended, so that nothing more arrives in the internal registry.
func (c *Copies) Forget(tag client.ObjectKey) (ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.tags[tag]; known != nil {
		c.drop(known)
		delete(c.tags, tag)
	}
	for j := range c.running {
		if j.tag == tag {
			return false
		}
	}
	return true
}
