// Package reference parses and writes the names of images. It is pure: no network, no clock, no environment.
package reference

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/util/validation"
)

// DefaultRegistry is the registry of images without one, unless the administrator configures another.
const DefaultRegistry = "docker.io"

// MaxLength bounds spec.from, in bytes.
const MaxLength = 512

// placeholderRegistry never resolves (RFC 6761, section 6.4).
const placeholderRegistry = "not-imported.invalid"

// Source is an image to import: a repository, and a tag or a digest in it.
type Source struct {
	named     reference.Named
	qualified bool
}

// Parse parses spec.from. An image without a registry belongs to unqualifiedRegistry, an empty one meaning docker.io. Without a
// tag and a digest it has the tag latest; with both, the digest counts. The grammar is that of
// github.com/distribution/reference.
func Parse(from, unqualifiedRegistry string) (Source, error) {
	switch {
	case from == "":
		return Source{}, errors.New("the image reference is empty; write one such as quay.io/company/myapp:latest")
	case len(from) > MaxLength:
		return Source{}, fmt.Errorf("the image reference has %d bytes, more than the %d allowed", len(from), MaxLength)
	}
	qualified := isQualified(from)
	if first, _, found := strings.Cut(from, "/"); found && !qualified && first != strings.ToLower(first) {
		return Source{}, fmt.Errorf("%q is not an image reference such as quay.io/company/myapp:latest: %w", from, reference.ErrNameContainsUppercase)
	}
	name := from
	if !qualified && unqualifiedRegistry != "" && unqualifiedRegistry != DefaultRegistry {
		name = unqualifiedRegistry + "/" + from
	}
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return Source{}, fmt.Errorf("%q is not an image reference such as quay.io/company/myapp:latest: %w", from, err)
	}
	return Source{named: named, qualified: qualified}, nil
}

// isQualified reports whether the name starts with a registry: a first segment with a dot or a colon, or localhost.
func isQualified(name string) bool {
	first, _, found := strings.Cut(name, "/")
	return found && (strings.ContainsAny(first, ".:") || first == "localhost")
}

// Registry returns the host, with its port if it has one.
func (s Source) Registry() string { return reference.Domain(s.named) }

// Repository returns the registry and the path, without tag and digest.
func (s Source) Repository() string { return s.named.Name() }

// Path returns the path of the repository in the registry.
func (s Source) Path() string { return reference.Path(s.named) }

// Qualified reports whether the source names its registry. Push notifications reach only such sources.
func (s Source) Qualified() bool { return s.qualified }

// String returns the whole name, with the registry and the tag.
func (s Source) String() string { return s.named.String() }

// Tag returns the tag of the source, or nothing if it has a digest.
func (s Source) Tag() string {
	if tagged, ok := s.named.(reference.Tagged); ok && s.Digest() == "" {
		return tagged.Tag()
	}
	return ""
}

// Digest returns the digest of the source, or nothing.
func (s Source) Digest() string {
	if digested, ok := s.named.(reference.Digested); ok {
		return digested.Digest().String()
	}
	return ""
}

// AtDigest returns the image of that digest in the source's repository.
func (s Source) AtDigest(imageDigest string) string {
	return s.Repository() + "@" + imageDigest
}

// Split returns the repository and the digest of an image by digest. It is false for any other image.
func Split(image string) (repository, imageDigest string, ok bool) {
	repository, imageDigest, found := strings.Cut(image, "@")
	if !found {
		return "", "", false
	}
	if _, err := digest.Parse(imageDigest); err != nil {
		return "", "", false
	}
	named, err := reference.ParseNormalizedNamed(repository)
	if err != nil {
		return "", "", false
	}
	return named.Name(), imageDigest, true
}

// DockerLibraryName returns the name of an official image of docker.io by tag, such as myapp for docker.io/myapp and
// myapp:latest. It returns nothing for any other image.
func DockerLibraryName(image string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(image, DefaultRegistry+"/"), "library/")
	name, _, _ = strings.Cut(name, ":")
	if name == image || strings.Contains(image, "@") || !IsTagName(name) {
		return ""
	}
	return name
}

// IsTagName reports whether an image may be the name of a Tag: a DNS label (RFC 1123), so without registry, path, tag and
// digest.
func IsTagName(image string) bool {
	const inOtherImages = ":/.@" // most images need neither the regular expression nor its error
	return !strings.ContainsAny(image, inOtherImages) && len(validation.IsDNS1123Label(image)) == 0
}

// Placeholder returns the image of a container whose Tag has no import yet: one that no node can pull.
func Placeholder(namespace, tag string) string {
	return placeholderRegistry + "/" + namespace + "/" + tag
}

// OfPlaceholder returns the Tag of a placeholder of that namespace; empty for any other image.
func OfPlaceholder(namespace, image string) string {
	tag, found := strings.CutPrefix(image, Placeholder(namespace, ""))
	if !found {
		return ""
	}
	return tag
}

// IsPlaceholder reports whether Placeholder returned the image.
func IsPlaceholder(image string) bool {
	return strings.HasPrefix(image, placeholderRegistry+"/")
}
