package registry

import (
	"context"

	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
)

// putAttachment puts a manifest of cosign under its tag. cosign adds a signature to the layers of the manifest that has the tag already, at
// the mirror as well as at the source: what only the mirror has stays.
func (m mirror) putAttachment(ctx context.Context, n *node, tag string) (written bool, err error) {
	held, err := m.holds(ctx, tag)
	if err != nil || held == n.Digest.String() {
		return false, err
	}
	if held != "" {
		content, _, err := m.look(ctx, m.at.tagged(tag), isGone)
		if err != nil {
			return false, m.fault(err)
		}
		if n, err = n.union(content); err != nil {
			return false, regerr.New(v1.ReasonInvalidContent, err, "%s: what has the tag %s cannot be merged with what the source has: %v; delete the tag to have it replaced", m.at.text, tag, err)
		}
		if n == nil {
			return false, nil
		}
	}
	_, err = m.put(ctx, n, tag)
	return err == nil, err
}
