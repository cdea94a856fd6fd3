package manifest

import "github.com/opencontainers/go-digest"

// CosignSuffixes are what cosign attaches by a tag that is made of the image's digest: signatures and attestations.
var CosignSuffixes = []string{".sig", ".att"}

// AttachmentTags returns the tags that lead to the referrers of an image: cosign's, and that of the index of its referrers.
func AttachmentTags(image string) []string {
	base := ReferrersTag(digest.Digest(image))
	tags := []string{base}
	for _, suffix := range CosignSuffixes {
		tags = append(tags, base+suffix)
	}
	return tags
}

// ReferrersTag returns that tag without a suffix (image-spec, "Referrers Tag Schema"; the tags of cosign are made in the same way).
func ReferrersTag(image digest.Digest) string {
	tag := image.Algorithm().String() + "-" + image.Encoded()
	return tag[:min(len(tag), 128)]
}
