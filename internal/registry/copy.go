package registry

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry/copier"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/remote"
	"github.com/images-io/tagger/internal/transfer"
)

// Destination is one repository of the internal registry, with the cache's own credentials.
type Destination struct {
	// Address is the host, with its port where that is not the default one, as we contact it.
	Address string
	// Path is the repository's name there: prefix/namespace/tag.
	Path string
	// Insecure allows TLS without verification, and plain HTTP, as insecure in registries.conf does.
	Insecure bool
	// Username and Password are the cache's; both empty mean anonymous.
	Username, Password string
}

// Format writes the address and the path only, so that no log shows the password.
func (r Destination) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, r.Address+"/"+r.Path)
}

// Copy copies an image, byte for byte and with all platforms. What is there already is not sent again, and the tag appears
// last, when all else is there. A copy that was cut off goes on with the blobs that arrived.
//
// The error is an *regerr.Error: MirrorUnavailable where the mirror is at fault, and otherwise the source's reason; or ctx's own
// when the caller gave up.
func (c *Client) Copy(ctx context.Context, order CopyRequest) (transfer.CopyResult, error) {
	return c.copyAs(ctx, order, (*copier.Copier).Run)
}

// CopyAttachments copies what was attached to an image after the image was copied. Where that is nothing, it sends three requests to the
// source: for the two tags of cosign and for the list of referrers; after a restart one more, as it is not known which credentials are for
// the source. The errors are as Copy's; what cannot be copied, or looked up, is not an error but Missing.
func (c *Client) CopyAttachments(ctx context.Context, order CopyRequest) (transfer.CopyResult, error) {
	if !c.copies.Attachments {
		return transfer.CopyResult{}, nil
	}
	return c.copyAs(ctx, order, (*copier.Copier).RunReferrers)
}

// copyAs copies from each location of the source, as each identity, until one lets us.
func (c *Client) copyAs(ctx context.Context, order CopyRequest, run func(*copier.Copier, context.Context) error) (transfer.CopyResult, error) {
	mirror, err := c.mirror(order.Destination)
	if err != nil {
		return transfer.CopyResult{}, err
	}
	image, err := reference.Parse(order.Source.AtDigest(order.Digest), "")
	if err != nil {
		return transfer.CopyResult{}, regerr.New(v1.ReasonInvalidReference, err, "%s: %q is no digest", order.Source, order.Digest)
	}
	counts := &copier.Progress{Report: order.Progress}
	_, err = c.tryEndpoints(ctx, image, func(ep endpoint.Endpoint) (string, error) {
		return "", c.tryCredentials(ep, order.Keyring, func(cred credentials.Credential) error {
			if err := c.throttler.CheckRateLimit(ep, cred.ID, false); err != nil {
				return err
			}
			counts.Restart()
			source := remote.Source{Repository: c.repository(c.readTokens, ep, cred, order.Namespace)}
			made := copier.New(source, mirror, copier.Options{
				Namespace: order.Namespace, Tag: order.Tag, Limits: c.copies, Referrers: c.referrers, Children: c.children, Progress: counts,
			})
			made.IsReader = c.isRemembered(ep, order.Keyring)
			return run(made, ctx)
		})
	})
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return counts.Result(), err
}

// CopyRequest is what to copy, and whereto.
type CopyRequest struct {
	// Source is where from. registries.conf says where it is asked.
	Source reference.Source
	// Digest is that of the index or the manifest, as it was resolved.
	Digest string
	// Keyring are the namespace's. The source sees them, and no other registry.
	Keyring credentials.Keyring
	// Destination is whereto.
	Destination Destination
	// Tag is the generation, as a decimal.
	Tag string
	// Namespace is that of the Tag. Only what was copied for the same one is mounted.
	Namespace string
	// Progress is called with how far the copy is, often and from any goroutine, so it must be quick. It may be nil.
	Progress func(transfer.Progress)
}
