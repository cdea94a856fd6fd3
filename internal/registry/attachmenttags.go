package registry

import "github.com/opencontainers/go-digest"

// cosignSuffixes are what cosign attaches by a tag that is made of the image's digest: signatures and attestations.
var cosignSuffixes = []string{".sig", ".att"}

// AttachmentTags are the tags that lead to what is attached to an image: the index of what names it as its subject, and cosign's.
func AttachmentTags(image string) []string { return attachmentTags(digest.Digest(image)) }

func attachmentTags(image digest.Digest) []string {
	return append([]string{referrersTag(image)}, cosignTags(image)...)
}

// cosignTags are those of signatures and attestations.
func cosignTags(image digest.Digest) []string {
	tags := make([]string, len(cosignSuffixes))
	for i, suffix := range cosignSuffixes {
		tags[i] = referrersTag(image) + suffix
	}
	return tags
}

// referrersTag is the tag without a suffix (image-spec, "Referrers Tag Schema"; the tags of cosign are made in the same way).
func referrersTag(image digest.Digest) string {
	tag := image.Algorithm().String() + "-" + image.Encoded()
	return tag[:min(len(tag), 128)]
}
