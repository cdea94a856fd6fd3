package registry

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry/credentials"
)

// KeyringFor returns what NewKeyring does, reduced to the entries that are tried for the source: a few, however many the secrets have.
func (c *Client) KeyringFor(source reference.Source, secrets []corev1.Secret) (credentials.Keyring, []error) {
	locations, err := c.configuration.Endpoints(source)
	if err != nil {
		locations = nil // a request for the source fails with this error
	}
	return credentials.NewKeyringFor(secrets, locations)
}
