package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"

	v1 "github.com/images-io/tagger/api/v1"
)

// Head is the digest that the repository has for a tag or a digest, and empty when it has none. It takes one HEAD.
//
// The error is an *regerr.Error, MirrorUnavailable; or ctx's own.
func (c *Client) Head(ctx context.Context, at Destination, identifier string) (string, error) {
	to, err := c.mirror(at)
	if err != nil {
		return "", err
	}
	return to.HeadManifest(ctx, identifier)
}

// Untag removes a tag, and leaves its manifest to the registry's own garbage collection. What is gone already is no error;
// errors.Is(err, ErrDeletionForbidden) where the registry does not do that. While another request tries whether
// the registry works again, the error is a *Postponed.
func (c *Client) Untag(ctx context.Context, at Destination, tag string) error {
	to, err := c.deleting(at)
	if err != nil {
		return err
	}
	to.NoWait = true
	return to.DeleteManifest(ctx, tag)
}

// Delete removes a manifest and every tag of it. What is gone already is no error; errors.Is(err, ErrDeletionForbidden)
// where the registry does not do that.
func (c *Client) Delete(ctx context.Context, at Destination, digest string) error {
	to, err := c.deleting(at)
	if err != nil {
		return err
	}
	return to.DeleteManifest(ctx, digest)
}

// deleting is the way into a repository to delete there.
func (c *Client) deleting(at Destination) (remote.Mirror, error) {
	to, err := c.mirror(at)
	to.Endpoint.Writes, to.Endpoint.Deletes = false, true
	return to, err
}

// mirror is the way into a repository, with the cache's own credentials and no others.
func (c *Client) mirror(at Destination) (remote.Mirror, error) {
	var options []name.Option
	if at.Insecure {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(at.Address, options...)
	if err != nil {
		return remote.Mirror{}, regerr.New(v1.ReasonMirrorUnavailable, err, "%q is no registry's name; correct CACHE_REGISTRY_ADDRESS", at.Address)
	}
	who := credentials.Anonymous
	if at.Username != "" || at.Password != "" {
		who = credentials.New(authn.AuthConfig{Username: at.Username, Password: at.Password})
	}
	admitted := map[string]bool{}
	endpoint.AddHost(admitted, at.Address, at.Insecure)
	return remote.Mirror{
		Locations: c.locations,
		Repository: c.access(c.writeTokens, endpoint.Endpoint{
			Registry: registry, Host: at.Address, Repository: at.Path, Insecure: at.Insecure,
			Writes: true, AllowedHosts: admitted, Text: fmt.Sprintf("the internal registry, %v", at),
		}, who),
	}, nil
}
