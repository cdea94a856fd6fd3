package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
)

// Holds is the digest that the repository has for a tag or a digest, and empty when it has none. It takes one HEAD.
//
// The error is an *regerr.Error, MirrorUnavailable; or ctx's own.
func (c *Client) Holds(ctx context.Context, at Repository, identifier string) (string, error) {
	to, err := c.mirror(at)
	if err != nil {
		return "", err
	}
	return to.holds(ctx, identifier)
}

// UntagNow removes a tag, and leaves its manifest to the registry's own garbage collection. What is gone already is no error;
// errors.Is(err, ErrDeletionForbidden) where the registry does not do that. While another request tries whether
// the registry works again, the error is a *Postponed.
func (c *Client) UntagNow(ctx context.Context, at Repository, tag string) error {
	to, err := c.deleting(at)
	if err != nil {
		return err
	}
	to.hurries = true
	return to.remove(ctx, tag)
}

// Delete removes a manifest and every tag of it. What is gone already is no error; errors.Is(err, ErrDeletionForbidden)
// where the registry does not do that.
func (c *Client) Delete(ctx context.Context, at Repository, digest string) error {
	to, err := c.deleting(at)
	if err != nil {
		return err
	}
	return to.remove(ctx, digest)
}

// deleting is the way into a repository to delete there.
func (c *Client) deleting(at Repository) (mirror, error) {
	to, err := c.mirror(at)
	to.at.writes, to.at.deletes = false, true
	return to, err
}

// mirror is the way into a repository, with the cache's own credentials and no others.
func (c *Client) mirror(at Repository) (mirror, error) {
	var options []name.Option
	if at.Insecure {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(at.Address, options...)
	if err != nil {
		return mirror{}, regerr.New(v1.ReasonMirrorUnavailable, err, "%q is no registry's name; correct CACHE_REGISTRY_ADDRESS", at.Address)
	}
	who := anonymous
	if at.Username != "" || at.Password != "" {
		who = newCredential(authn.AuthConfig{Username: at.Username, Password: at.Password})
	}
	admitted := map[string]bool{}
	list(admitted, at.Address, at.Insecure)
	return mirror{
		placements: c.placements,
		access: c.access(c.writing, location{
			registry: registry, host: at.Address, repository: at.Path, insecure: at.Insecure,
			writes: true, admitted: admitted, text: fmt.Sprintf("the internal registry, %v", at),
		}, who),
	}, nil
}
