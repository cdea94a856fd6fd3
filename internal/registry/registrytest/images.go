package registrytest

import (
	"net/http/httptest"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// PushIndex puts an index into the registry, past the guard.
func (u *Upstream) PushIndex(t *testing.T, repository, tag string, index gcr.ImageIndex) string {
	t.Helper()
	if err := remote.WriteIndex(u.Behind(t, repository, tag), index); err != nil {
		t.Fatal(err)
	}
	return DigestOf(t, index)
}

// PushImage puts an image into the registry, past the guard.
func (u *Upstream) PushImage(t *testing.T, repository, tag string, image gcr.Image) string {
	t.Helper()
	if err := remote.Write(u.Behind(t, repository, tag), image); err != nil {
		t.Fatal(err)
	}
	return DigestOf(t, image)
}

// Behind returns a reference to a tag past the guard.
func (u *Upstream) Behind(t *testing.T, repository, tag string) name.Reference {
	t.Helper()
	server := httptest.NewServer(u.Images)
	t.Cleanup(server.Close)
	made, err := name.ParseReference(server.Listener.Addr().String() + "/" + repository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// DigestOf returns the digest of an image or an index.
func DigestOf(t *testing.T, of interface{ Digest() (gcr.Hash, error) }) string {
	t.Helper()
	made, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return made.String()
}

// Platforms returns an index of random images, each with this number of layers of size bytes.
func Platforms(t *testing.T, images, layers int, size int64) gcr.ImageIndex {
	t.Helper()
	made, err := random.Index(size, int64(layers), int64(images))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Image returns a random image with this number of layers of size bytes.
func Image(t *testing.T, layers int, size int64) gcr.Image {
	t.Helper()
	made, err := random.Image(size, int64(layers))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// IndexAround returns an index that names other indexes.
func IndexAround(indexes ...gcr.ImageIndex) gcr.ImageIndex {
	var outer gcr.ImageIndex = empty.Index
	for _, inner := range indexes {
		outer = mutate.AppendManifests(outer, mutate.IndexAddendum{Add: inner})
	}
	return outer
}
