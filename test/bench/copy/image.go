package main

import (
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// architectures are the platforms of every image.
var architectures = []string{"amd64", "arm64"}

// content describes an image: for each platform a config and one layer for each seed. Images with a common seed share that
// layer of each platform.
type content struct {
	seeds  []uint64
	layer  int64 // its size
	config int   // its approximate size
}

// index builds the image.
func (c content) index() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, architecture := range architectures {
		image, err := c.image(architecture, uint64(i)<<32)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        untypedImage{image},
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return index, nil
}

// untypedImage has no artifact type in the index, as images from common builders. skopeo 1.9.3 does not preserve one.
type untypedImage struct{ v1.Image }

// ArtifactType returns no type, where go-containerregistry would take the config's.
func (untypedImage) ArtifactType() (string, error) { return "", nil }

func (c content) image(architecture string, salt uint64) (v1.Image, error) {
	image, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		&v1.ConfigFile{
			OS: "linux", Architecture: architecture, RootFS: v1.RootFS{Type: "layers"},
			Config: v1.Config{Labels: map[string]string{"padding": strings.Repeat("-", c.config)}},
		})
	if err != nil {
		return nil, err
	}
	for _, seed := range c.seeds {
		layer, err := newBlob(salt|seed, c.layer)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	return image, nil
}
