package registry

import "github.com/opencontainers/go-digest"

// AttachmentTags are the tags that lead to what is attached to an image: cosign's, and the index of those that name it as their subject.
func AttachmentTags(image string) []string {
	base := referrersTag(digest.Digest(image))
	tags := []string{base}
	for _, suffix := range cosignSuffixes {
		tags = append(tags, base+suffix)
	}
	return tags
}
