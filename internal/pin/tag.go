package pin

import (
	"cmp"
	"slices"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

// Tag is the part of a Tag that pinning needs.
type Tag struct {
	// Image is the current image of workloads, empty before the first import.
	Image string
	// IsFrom reports whether a repository is that of the Tag's source, or of one of its generations.
	IsFrom func(repository string) bool
	// Reason says in a word why the Tag has no import yet.
	Reason string
}

// Lookup finds a Tag by its name in the workload's namespace. It is false for a Tag that does not exist.
type Lookup func(name string) (Tag, bool, error)

// LookupWith returns a Lookup that reads Tags with get, which returns nil for a Tag that does not exist.
func LookupWith(get func(name string) (*v1.Tag, error), unqualifiedRegistry string) Lookup {
	return func(name string) (Tag, bool, error) {
		tag, err := get(name)
		if err != nil || tag == nil {
			return Tag{}, false, err
		}
		return FromTag(tag, unqualifiedRegistry), true, nil
	}
}

// FromTag returns the part of a Tag that pinning needs.
func FromTag(tag *v1.Tag, unqualifiedRegistry string) Tag {
	out := Tag{
		Reason: cmp.Or(string(tag.NotReadyReason()), "the import is pending"),
		IsFrom: func(repository string) bool { return isFrom(tag, repository, unqualifiedRegistry) },
	}
	if current := tag.Current(); current != nil {
		out.Image = current.ImageReference
	}
	return out
}

// isFrom parses only when it is called, which is seldom.
func isFrom(tag *v1.Tag, repository, unqualifiedRegistry string) bool {
	if source, err := reference.Parse(tag.Spec.From, unqualifiedRegistry); err == nil && source.Repository() == repository {
		return true
	}
	return slices.ContainsFunc(tag.Status.References, func(ref v1.Reference) bool {
		kept, _, ok := reference.Split(ref.ImageReference)
		return ok && kept == repository
	})
}

// imageOrPlaceholder returns the image for a field that names the Tag: the Tag's image, or the placeholder before the first
// import and for a Tag that does not exist.
func (t Tag) imageOrPlaceholder(namespace, name string) string {
	return cmp.Or(t.Image, reference.Placeholder(namespace, name))
}
