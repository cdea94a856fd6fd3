package registry

import "github.com/opencontainers/go-digest"

// cosignSuffixes are what cosign attaches by a tag that is made of the image's digest: signatures and attestations.
var cosignSuffixes = []string{".sig", ".att"}

// AttachmentTags are the tags that lead to what is attached to an image: cosign's, and the index of those that name it as their subject.
func AttachmentTags(image string) []string {
	base := referrersTag(digest.Digest(image))
	tags := []string{base}
	for _, suffix := range cosignSuffixes {
		tags = append(tags, base+suffix)
	}
	return tags
}

// referrersTag is that tag without a suffix (image-spec, "Referrers Tag Schema"; the tags of cosign are made in the same way).
func referrersTag(image digest.Digest) string {
	tag := image.Algorithm().String() + "-" + image.Encoded()
	return tag[:min(len(tag), 128)]
}
