package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// blob is a layer of incompressible bytes, the same for the same seed. They are generated on reading, so that a large one takes
// no memory. It implements v1.Layer.
type blob struct {
	seed   uint64
	size   int64
	digest v1.Hash
}

func newBlob(seed uint64, size int64) (*blob, error) {
	b := &blob{seed: seed, size: size}
	hash := sha256.New()
	if _, err := io.Copy(hash, b.bytes()); err != nil {
		return nil, err
	}
	b.digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}
	return b, nil
}

func (b *blob) bytes() io.Reader {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], b.seed)
	return io.LimitReader(rand.NewChaCha8(seed), b.size)
}

// Digest implements v1.Layer.
func (b *blob) Digest() (v1.Hash, error) { return b.digest, nil }

// DiffID implements v1.Layer.
func (b *blob) DiffID() (v1.Hash, error) { return b.digest, nil }

// Compressed implements v1.Layer.
func (b *blob) Compressed() (io.ReadCloser, error) { return io.NopCloser(b.bytes()), nil }

// Uncompressed implements v1.Layer.
func (b *blob) Uncompressed() (io.ReadCloser, error) { return b.Compressed() }

// Size implements v1.Layer.
func (b *blob) Size() (int64, error) { return b.size, nil }

// MediaType implements v1.Layer.
func (b *blob) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }
