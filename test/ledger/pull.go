package ledger

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Pull reads a whole index: the index, which must have the digest, and the manifest, the config and the layers of each image in
// it.
func Pull(at name.Reference, digest string, options ...remote.Option) error {
	index, err := remote.Index(at, options...)
	if err != nil {
		return err
	}
	got, err := index.Digest()
	if err != nil {
		return err
	}
	if got.String() != digest {
		return fmt.Errorf("%s is %s; want %s", at, got, digest)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, child := range manifest.Manifests {
		if err := pullImage(index, child.Digest); err != nil {
			return fmt.Errorf("%s: %s: %w", at, child.Digest, err)
		}
	}
	return nil
}

// PullIfThere is Pull if the reference exists.
func PullIfThere(at name.Reference, digest string, options ...remote.Option) (isThere bool, err error) {
	var answer *transport.Error
	if _, err = remote.Head(at, options...); errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, Pull(at, digest, options...)
}

func pullImage(index gcr.ImageIndex, digest gcr.Hash) error {
	image, err := index.Image(digest)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	if _, err := image.RawConfigFile(); err != nil {
		return err
	}
	for _, layer := range layers {
		if err := pullLayer(layer); err != nil {
			return err
		}
	}
	return nil
}

// pullLayer reads a layer and compares it with its digest.
func pullLayer(layer gcr.Layer) error {
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(io.Discard, content)
	return err
}
