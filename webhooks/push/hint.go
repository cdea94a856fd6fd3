package push

import (
	"fmt"
	"strings"
)

// maxHints bounds the hints of one notification.
const maxHints = 256

// Hint names an image that may have changed, as the sender of a notification writes it.
type Hint struct {
	// Registry is a host, with its port if it has one. It is empty if the notification names none.
	Registry string
	// Repository is the path of the repository in the registry.
	Repository string
	// Tag is the tag of the image. An empty one means every tag of the repository.
	Tag string
}

// errTooManyHints is returned for a notification of more than maxHints images.
var errTooManyHints = fmt.Errorf("the notification names more than %d images", maxHints)

// missing returns the error of a notification without a field that its sender documents.
func missing(field string) error { return fmt.Errorf("the field %s is missing or empty", field) }

// isDigest reports whether a version of an image is a digest instead of a tag, which cannot contain a colon.
func isDigest(version string) bool { return strings.Contains(version, ":") }
