package pin

import (
	"cmp"
	"slices"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

// Tag is what pinning needs to know of a Tag.
type Tag struct {
	// Image is what workloads use now, empty before the first import.
	Image string
	// IsFrom says whether its images come from a repository: that of its source, or one that its generations are in.
	IsFrom func(repository string) bool
	// Reason says in a word why there is no import yet.
	Reason string
}

// Lookup finds a Tag by its name in the workload's namespace. It is false when there is none.
type Lookup func(name string) (Tag, bool, error)

// LookupWith finds Tags with a function that gets one by name, or nil.
func LookupWith(get func(name string) (*v1.Tag, error), unqualifiedRegistry string) Lookup {
	return func(name string) (Tag, bool, error) {
		tag, err := get(name)
		if err != nil || tag == nil {
			return Tag{}, false, err
		}
		return FromTag(tag, unqualifiedRegistry), true, nil
	}
}

// FromTag takes from a Tag what pinning needs.
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

// imageOrPlaceholder returns what a field that names the Tag gets: its image, or the placeholder before the first import
// and while there is no such Tag.
func (t Tag) imageOrPlaceholder(namespace, name string) string {
	return cmp.Or(t.Image, reference.Placeholder(namespace, name))
}
