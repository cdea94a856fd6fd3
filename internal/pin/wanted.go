package pin

import (
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/images-io/tagger/internal/reference"
)

// Wanted returns the image fields of a stored workload whose image should differ, with that image: a Tag's generation changed,
// or the API server did not call admission. A pinned field stays while its Tag is missing or has no import. A bare name never
// stays, since a node takes it for an image of docker.io: it becomes the Tag's image, else the recorded one, else the
// placeholder (DESIGN 4.5).
func Wanted(w Workload, namespace string, lookup Lookup) (Record, error) {
	record, wanted := w.record(), Record{}
	for _, f := range w.ImageFields() {
		entry, recorded := record[f.Key]
		name, err := followed(*f.Image, namespace, entry, recorded, lookup)
		if err != nil {
			return nil, err
		}
		image, err := wantedImage(*f.Image, namespace, name, entry, lookup)
		if err != nil {
			return nil, err
		}
		if image != "" && (entry.Image != image || !isRecorded(*f.Image, namespace, entry)) {
			wanted[f.Key] = Entry{Tag: name, Image: image}
		}
	}
	return wanted, nil
}

// followed returns the name of the Tag that a field follows, or nothing. A placeholder contains the name.
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

// wantedImage returns the image for a field that follows the Tag, or nothing if the field should stay.
func wantedImage(image, namespace, name string, entry Entry, lookup Lookup) (string, error) {
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
	case image != name:
		return "", nil
	case entry.Tag == name && isPinned:
		return entry.Image, nil
	default:
		return reference.Placeholder(namespace, name), nil
	}
}

// MissingTags returns the names of the Tags that do not exist and that fields with a placeholder wait for, each once.
func MissingTags(w Workload, namespace string, lookup Lookup) ([]string, error) {
	missing, record := sets.New[string](), w.record()
	for _, f := range w.ImageFields() {
		entry := record[f.Key]
		if !reference.IsPlaceholder(entry.Image) || !isRecorded(*f.Image, namespace, entry) {
			continue
		}
		_, exists, err := lookup(entry.Tag)
		if err != nil {
			return nil, err
		}
		if !exists {
			missing.Insert(entry.Tag)
		}
	}
	return sets.List(missing), nil
}

// Detached returns the fields of an opted-in workload that still exist, and whose record ended, with their former entries.
func Detached(old, updated Workload) []Pinned {
	if !old.Enabled() || !updated.Enabled() {
		return nil
	}
	before, after := old.record(), updated.record()
	var detached []Pinned
	for _, f := range updated.ImageFields() {
		entry, had := before[f.Key]
		if _, has := after[f.Key]; had && !has {
			detached = append(detached, Pinned{f, entry})
		}
	}
	return detached
}
