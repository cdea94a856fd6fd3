package remote

import (
	"context"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// PutTaggedArtifact puts a manifest of cosign under its tag. cosign adds a signature to the layers of the manifest that has the tag already, at
// the mirror as well as at the source: what only the mirror has stays.
func (m Mirror) PutTaggedArtifact(ctx context.Context, n *manifest.Node, tag string) (written bool, err error) {
	held, err := m.HeadManifest(ctx, tag)
	if err != nil || held == n.Digest.String() {
		return false, err
	}
	if held != "" {
		content, _, err := m.FetchOptional(ctx, m.Endpoint.WithTag(tag), IsGone)
		if err != nil {
			return false, m.Fault(err)
		}
		if n, err = n.Union(content); err != nil {
			return false, regerr.New(v1.ReasonInvalidContent, err, "%s: what has the tag %s cannot be merged with what the source has: %v; delete the tag to have it replaced", m.Endpoint.Text, tag, err)
		}
		if n == nil {
			return false, nil
		}
	}
	_, err = m.PutManifest(ctx, n, tag)
	return err == nil, err
}
