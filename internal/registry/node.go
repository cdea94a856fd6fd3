package registry

import "sync/atomic"

// node is a manifest as it was sent, and what it names.
type node struct {
	descriptor
	content  []byte
	body     manifestBody
	blobs    []descriptor
	children []*node
	// isLast: it is not brought with the others, for its tag says that all is there.
	isLast bool
}

// parse reads what the manifest names.
func (n *node) parse() (err error) {
	if n.body, err = parseBody(n.content); err != nil {
		return err
	}
	if n.MediaType = n.body.mediaType(n.MediaType); !mediaTypes.MatchString(string(n.MediaType)) {
		return errNoManifest
	}
	n.blobs, err = n.body.blobs()
	n.body.Layers = nil // they are among the blobs
	return err
}

// manifestRoom is what a copy has left for manifests, of maxManifestBytes.
type manifestRoom struct{ taken atomic.Int64 }

// take takes room for so many bytes, which a registry may say to be any number.
func (r *manifestRoom) take(size int64) error {
	if size < 0 || size > maxManifestBytes || r.taken.Add(size) > maxManifestBytes {
		return errTooManyManifests
	}
	return nil
}
