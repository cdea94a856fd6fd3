package mirror

import (
	"context"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/transfer"
)

// Copy copies an image.
func (m *Mirror) Copy(ctx context.Context, request importer.CopyRequest) (transfer.CopyResult, error) {
	return m.copy(ctx, request, m.client.Copy)
}

// CopyAttachments copies what was attached to an image after the image was copied.
func (m *Mirror) CopyAttachments(ctx context.Context, request importer.CopyRequest) (transfer.CopyResult, error) {
	return m.copy(ctx, request, m.client.CopyAttachments)
}

// copy hands a request to the registry client.
func (m *Mirror) copy(ctx context.Context, request importer.CopyRequest, do func(context.Context, registry.CopyRequest) (transfer.CopyResult, error)) (transfer.CopyResult, error) {
	var keyring credentials.Keyring
	parse := func(read []corev1.Secret) { keyring, _ = m.client.KeyringFor(request.Source, read) } // resolving the image reported malformed ones
	if _, err := request.Secrets(ctx, parse); err != nil {
		return transfer.CopyResult{}, err
	}
	return do(ctx, registry.CopyRequest{
		Source: request.Source, Digest: request.Digest, Keyring: keyring, Namespace: request.Namespace,
		Destination: m.repository(request.Destination), Tag: strconv.FormatInt(request.Generation, 10), Progress: request.Report,
	})
}

// Head asks for a tag or a digest.
func (m *Mirror) Head(ctx context.Context, dst reference.MirrorRepository, identifier string) (string, error) {
	return m.client.Head(ctx, m.repository(dst), identifier)
}

// repository returns the repository to write to, with the internal registry's own credentials.
func (m *Mirror) repository(at reference.MirrorRepository) registry.Destination {
	return registry.Destination{
		Address: at.Address, Path: at.Path, Insecure: m.credentials.Insecure, Username: m.credentials.Username, Password: m.credentials.Password,
	}
}
