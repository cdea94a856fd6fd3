package manifest

import "sync/atomic"

// Node is a manifest as it was sent, and what it names.
type Node struct {
	Descriptor
	Content  []byte
	Body     Manifest
	Blobs    []Descriptor
	Children []*Node
	// IsLast: it is not brought with the others, for its tag says that all is there.
	IsLast bool
}

// Parse reads what the manifest names.
func (n *Node) Parse() (err error) {
	if n.Body, err = parse(n.Content); err != nil {
		return err
	}
	if n.MediaType = n.Body.mediaType(n.MediaType); !mediaTypes.MatchString(string(n.MediaType)) {
		return ErrNoManifest
	}
	n.Blobs, err = n.Body.blobs()
	n.Body.Layers = nil // they are among the blobs
	return err
}

// Budget is what a copy has left for manifests, of maxManifestBytes.
type Budget struct{ used atomic.Int64 }

// Take takes room for so many bytes, which a registry may say to be any number.
func (r *Budget) Take(size int64) error {
	if size < 0 || size > maxManifestBytes || r.used.Add(size) > maxManifestBytes {
		return ErrTooManyManifests
	}
	return nil
}
