package registry

import (
	"context"
	"fmt"
	"path"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"
)

// Head is the digest that the repository has for a tag or a digest, and empty when it has none. It takes one HEAD.
//
// The error is an *regerr.Error, MirrorUnavailable; or ctx's own.
func (c *Client) Head(ctx context.Context, dst Destination, identifier string) (string, error) {
	mirror, err := c.mirror(dst)
	if err != nil {
		return "", err
	}
	return mirror.HeadManifest(ctx, identifier)
}

// Untag removes a tag, and leaves its manifest to the registry's own garbage collection. What is gone already is no error;
// errors.Is(err, ErrDeletionForbidden) where the registry does not do that. While another request tries whether
// the registry works again, the error is a *throttle.ThrottledError.
func (c *Client) Untag(ctx context.Context, dst Destination, tag string) error {
	mirror, err := c.deleting(dst)
	if err != nil {
		return err
	}
	mirror.NoWait = true
	return mirror.DeleteManifest(ctx, tag)
}

// Delete removes a manifest and every tag of it. What is gone already is no error; errors.Is(err, ErrDeletionForbidden)
// where the registry does not do that.
func (c *Client) Delete(ctx context.Context, dst Destination, digest string) error {
	mirror, err := c.deleting(dst)
	if err != nil {
		return err
	}
	return mirror.DeleteManifest(ctx, digest)
}

// deleting returns a repository of the internal registry, to delete in it.
func (c *Client) deleting(dst Destination) (remote.Mirror, error) {
	mirror, err := c.mirror(dst)
	mirror.Endpoint.Writes, mirror.Endpoint.Deletes = false, true
	return mirror, err
}

// mirror returns a repository of the internal registry, with the internal registry's own credentials only.
func (c *Client) mirror(dst Destination) (remote.Mirror, error) {
	var options []name.Option
	if dst.Insecure {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(dst.Address, options...)
	if err != nil {
		return remote.Mirror{}, regerr.New(v1.ReasonMirrorUnavailable, err, "%q is no registry's name; correct CACHE_REGISTRY_ADDRESS", dst.Address)
	}
	cred := credentials.Anonymous
	if dst.Username != "" || dst.Password != "" {
		cred = credentials.New(authn.AuthConfig{Username: dst.Username, Password: dst.Password})
	}
	admitted := map[string]bool{}
	endpoint.AddHost(admitted, dst.Address, dst.Insecure)
	return remote.Mirror{
		Locations: c.locations,
		Repository: c.repository(c.writeTokens, endpoint.Endpoint{
			Registry: registry, Host: dst.Address, Repository: dst.Path, Insecure: dst.Insecure,
			Writes: true, AllowedHosts: admitted, Text: fmt.Sprintf("the internal registry, %v", dst),
		}, cred, path.Base(path.Dir(dst.Path))),
	}, nil
}
