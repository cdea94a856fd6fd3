package registry

import (
	"context"
	"errors"
)

// Holds is the digest that the repository has for a tag or a digest, and empty when it has none. It takes one HEAD.
func (c *Client) Holds(ctx context.Context, at Repository, identifier string) (string, error) {
	return "", errors.ErrUnsupported
}

// Untag removes a tag, and leaves its manifest to the registry's own garbage collection. What is gone already is no error;
// errors.Is(err, ErrDeletionForbidden) where the registry does not do that.
func (c *Client) Untag(ctx context.Context, at Repository, tag string) error {
	return errors.ErrUnsupported
}

// Delete removes a manifest and every tag of it. What is gone already is no error; errors.Is(err, ErrDeletionForbidden)
// where the registry does not do that.
func (c *Client) Delete(ctx context.Context, at Repository, digest string) error {
	return errors.ErrUnsupported
}
