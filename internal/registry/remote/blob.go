package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/transport"
)

// minBlobRate is how many bytes a second a blob must come with on the whole, beyond the time that any request may take.
const minBlobRate = 16 << 10

// requestsPerBlob is how many requests may be sent, one after the other, while a blob is read: that for the blob, and two to the internal
// registry, whose time must not count as the source's.
const requestsPerBlob = 3

// Source is where an image is copied from, and as whom.
type Source struct{ Repository }

// Manifest returns a manifest of the digest. One larger than the limit is not read.
func (s Source) Manifest(ctx context.Context, dgst digest.Digest, limit int64) (content []byte, err error) {
	err = s.DoWaiting(ctx, func(ctx context.Context, requester Requester) error {
		ctx, cancel := context.WithTimeout(transport.WithBodyLimit(ctx, limit), s.Timeouts.Request)
		defer cancel()
		content, _, err = requester.read(ctx, s.Endpoint.WithDigest(dgst))
		if errors.Is(err, manifest.ErrTooLarge) && limit < manifest.MaxSize {
			return manifest.ErrWrongSize
		}
		return err
	})
	return content, err
}

// Blob returns the content of a blob, as it comes. The errors of reading it have their meaning.
func (s Source) Blob(ctx context.Context, desc manifest.Descriptor) (coming *Download, err error) {
	var content io.ReadCloser
	ctx, cancel := context.WithTimeout(ctx, requestsPerBlob*s.Timeouts.Request+time.Duration(desc.Size/minBlobRate)*time.Second)
	err = s.DoWaiting(ctx, func(ctx context.Context, requester Requester) error {
		content, err = requester.blob(transport.WithBodyLimit(ctx, desc.Size), s.Endpoint, desc) // and no token of that size
		return err
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return &Download{ReadCloser: content, Of: desc, left: desc.Size, describe: s.Describe, cancel: cancel}, nil
}

// blob asks for a blob (distribution-spec, section "Pulling blobs").
func (r Requester) blob(ctx context.Context, ep endpoint.Endpoint, desc manifest.Descriptor) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, ep.BlobURL(r.Scheme, desc.Digest), nil)
	if err != nil {
		return nil, err
	}
	response, err := r.send(request, http.StatusOK)
	if errors.Is(err, manifest.ErrTooLarge) {
		return nil, manifest.ErrWrongSize
	}
	if err != nil {
		return nil, err
	}
	if response.ContentLength >= 0 && response.ContentLength != desc.Size {
		response.Body.Close()
		return nil, manifest.ErrWrongSize
	}
	if transport.EndsWithConnection(response) {
		return transport.CheckLength(response.Body, desc.Size), nil
	}
	return response.Body, nil
}

// Download is a blob on its way. What was read of it is of the size, or the last of it is never read.
type Download struct {
	io.ReadCloser
	Of       manifest.Descriptor
	left     int64
	describe func(error) error
	cancel   context.CancelFunc
}

// Read implements io.Reader.
func (d *Download) Read(buffer []byte) (int, error) {
	count, err := d.ReadCloser.Read(buffer)
	d.left -= int64(count)
	if wrong := d.check(err); wrong != nil {
		return 0, d.describe(wrong)
	}
	return count, err
}

// check returns what is wrong with the bytes so far, or nil.
func (d *Download) check(err error) error {
	switch {
	case d.left < 0, errors.Is(err, manifest.ErrTooLarge), errors.Is(err, io.EOF) && d.left > 0:
		return manifest.ErrWrongSize
	case err != nil && !errors.Is(err, io.EOF):
		return err
	default:
		return nil
	}
}

// Close implements io.Closer.
func (d *Download) Close() error {
	defer d.cancel()
	return d.ReadCloser.Close()
}
