package cluster

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/crane"
)

// PushImage pushes an image of one small file to ref and returns its digest. The same content makes the same digest, different
// content a different one. Registries on loopback use plain HTTP; options are for credentials and for TLS.
func PushImage(ctx context.Context, ref, content string, options ...crane.Option) (string, error) {
	image, err := crane.Image(map[string][]byte{"content": []byte(content)})
	if err != nil {
		return "", fmt.Errorf("make an image: %w", err)
	}
	digest, err := image.Digest()
	if err != nil {
		return "", fmt.Errorf("make an image: %w", err)
	}
	if err := crane.Push(image, ref, append(options, crane.WithContext(ctx))...); err != nil {
		return "", fmt.Errorf("push to %s: %w", ref, err)
	}
	return digest.String(), nil
}
