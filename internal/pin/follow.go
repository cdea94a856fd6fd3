package pin

import (
	"strings"

	"github.com/images-io/tagger/internal/reference"
)

// follows reports whether a recorded field with that image follows its Tag: the image is the recorded one, the Tag's name,
// Tagger's placeholder, or a digest in a repository of the Tag. A missing or empty Tag detaches nothing (DESIGN 4.3).
func follows(image, namespace string, entry Entry, lookup Lookup) (bool, error) {
	if isRecorded(image, namespace, entry) || names(image, namespace, entry.Tag) {
		return true, nil
	}
	return isDigestOf(image, entry, lookup)
}

// isRecorded reports whether an image is the one of the entry. Another webhook may have changed the registry, so isRecorded
// compares the digest, in any repository, and of a placeholder the path.
func isRecorded(image, namespace string, entry Entry) bool {
	if image == entry.Image {
		return true
	}
	if reference.IsPlaceholder(entry.Image) {
		return strings.HasSuffix(image, "/"+namespace+"/"+entry.Tag)
	}
	_, recorded, isPinned := reference.Split(entry.Image)
	_, digest, ok := reference.Split(image)
	return ok && isPinned && digest == recorded
}

// isDigestOf reports whether an image is by digest in a repository of the recorded Tag. If neither the Tag nor the recorded
// image has a repository, any digest may be.
func isDigestOf(image string, entry Entry, lookup Lookup) (bool, error) {
	repository, _, ok := reference.Split(image)
	if !ok {
		return false, nil
	}
	if recorded, _, ok := reference.Split(entry.Image); ok && recorded == repository {
		return true, nil
	}
	tag, exists, err := lookup(entry.Tag)
	if err != nil {
		return false, err
	}
	if !exists {
		return reference.IsPlaceholder(entry.Image), nil
	}
	return tag.IsFrom(repository), nil
}

// isSibling reports whether both images are by digest in one repository.
func isSibling(image, other string) bool {
	repository, _, ok := reference.Split(image)
	otherRepository, _, isPinned := reference.Split(other)
	return ok && isPinned && repository == otherRepository
}

// names reports whether an image is the Tag's name, or its placeholder.
func names(image, namespace, tag string) bool {
	return image == tag || image == reference.Placeholder(namespace, tag)
}
