package pin

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/images-io/tagger/internal/reference"
)

// Wanted is what the containers of a stored workload should be and are not: a Tag moved, or admission was missed.
// Nothing is wanted of a container whose Tag is away or has no import yet. But a bare name must not stay, for a node takes
// it for an image of docker.io: it becomes the recorded image, or the placeholder once an import failed. Before that the
// image may come at once, without a rollout between.
func Wanted(w Workload, namespace string, lookup Lookup) (Record, error) {
	record, wanted := w.record(), Record{}
	for _, c := range w.Containers() {
		entry, recorded := record[c.Name]
		name, err := followed(c.Image, namespace, entry, recorded, lookup)
		if err != nil {
			return nil, err
		}
		image, err := wantedImage(w, c, namespace, name, entry, lookup)
		if err != nil {
			return nil, err
		}
		if image != "" && (c.Image != image || entry.Image != image) {
			wanted[c.Name] = Entry{Tag: name, Image: image}
		}
	}
	return wanted, nil
}

// followed is the name of the Tag that a container follows, or empty. A placeholder tells the name by itself.
func followed(image, namespace string, entry Entry, recorded bool, lookup Lookup) (string, error) {
	if recorded {
		if same, err := follows(image, namespace, entry, lookup); same || err != nil {
			return entry.Tag, err
		}
	}
	if mayNameTag(image) {
		return image, nil
	}
	return reference.OfPlaceholder(namespace, image), nil
}

func wantedImage(w Workload, c *corev1.Container, namespace, name string, entry Entry, lookup Lookup) (string, error) {
	if name == "" {
		return "", nil
	}
	tag, exists, err := lookup(name)
	if err != nil {
		return "", err
	}
	_, _, isPinned := reference.Split(entry.Image)
	switch {
	case exists && tag.Image != "":
		return tag.Image, nil
	case c.Image == name && entry.Tag == name && isPinned:
		return entry.Image, nil
	case exists && c.Image == name && w.Recovers && tag.Tried:
		return reference.Placeholder(namespace, name), nil
	default:
		return "", nil
	}
}

// follows says whether a recorded container still follows its Tag with that image: the Tag's name, the recorded
// image, our placeholder, or a digest of the Tag. A Tag that is away or empty detaches nothing.
func follows(image, namespace string, entry Entry, lookup Lookup) (bool, error) {
	if image == entry.Image || names(image, namespace, entry.Tag) {
		return true, nil
	}
	return isDigestOf(image, entry, lookup)
}

// isDigestOf says whether an image is by digest in a repository of the recorded Tag. While neither the Tag nor the
// recorded image tells the repository, any digest may be.
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

// names says whether an image is the Tag's name, or the placeholder that stands for it.
func names(image, namespace, tag string) bool {
	return image == tag || image == reference.Placeholder(namespace, tag)
}
