package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

// slowest is how many bytes a second a blob must come with on the whole, beyond the time that any request may take.
const slowest = 16 << 10

// blobQuestions is how many questions may be asked, one after the other, while a blob is on its way: that for the blob, and
// two to the mirror, which is not to be taken for a slow source.
const blobQuestions = 3

// source is where an image is copied from, and as whom.
type source struct{ access }

// explain gives an error its meaning at the source.
func (s source) explain(err error) error { return s.quotas.explain(err, s.at) }

// manifest is a manifest of the digest. One larger than the limit is not read.
func (s source) manifest(ctx context.Context, of digest.Digest, limit int64) (content []byte, err error) {
	err = s.patiently(ctx, func(ctx context.Context, with requester) error {
		ctx, cancel := context.WithTimeout(allowing(ctx, limit), s.timeouts.Request)
		defer cancel()
		content, _, err = with.read(ctx, s.at.child(of))
		if errors.Is(err, errTooLarge) && limit < maxManifest {
			return errWrongSize
		}
		return err
	})
	return content, err
}

// blob is the content of a blob, as it comes. The errors of reading it have their meaning.
func (s source) blob(ctx context.Context, of descriptor) (coming *download, err error) {
	var content io.ReadCloser
	ctx, cancel := context.WithTimeout(ctx, blobQuestions*s.timeouts.Request+time.Duration(of.Size/slowest)*time.Second)
	err = s.patiently(ctx, func(ctx context.Context, with requester) error {
		content, err = with.blob(allowing(ctx, of.Size), s.at, of) // and no token of that size
		return err
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return &download{ReadCloser: content, of: of, left: of.Size, explain: s.explain, cancel: cancel}, nil
}

// blob asks for a blob (distribution-spec, section "Pulling blobs").
func (r requester) blob(ctx context.Context, at location, of descriptor) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.blobURL(r.scheme, of.Digest), nil)
	if err != nil {
		return nil, err
	}
	response, err := r.send(request, http.StatusOK)
	if errors.Is(err, errTooLarge) {
		return nil, errWrongSize
	}
	if err != nil {
		return nil, err
	}
	if response.ContentLength >= 0 && response.ContentLength != of.Size {
		response.Body.Close()
		return nil, errWrongSize
	}
	if endsWithTheConnection(response) {
		return checkLength(response.Body, of.Size), nil
	}
	return response.Body, nil
}

// download is a blob on its way. What was read of it is of the size, or the last of it is never read.
type download struct {
	io.ReadCloser
	of      descriptor
	left    int64
	explain func(error) error
	cancel  context.CancelFunc
}

// Read implements io.Reader.
func (d *download) Read(buffer []byte) (int, error) {
	count, err := d.ReadCloser.Read(buffer)
	d.left -= int64(count)
	if wrong := d.judge(err); wrong != nil {
		return 0, d.explain(wrong)
	}
	return count, err
}

// judge is what is wrong, nil while all is well.
func (d *download) judge(err error) error {
	switch {
	case d.left < 0, errors.Is(err, errTooLarge), errors.Is(err, io.EOF) && d.left > 0:
		return errWrongSize
	case err != nil && !errors.Is(err, io.EOF):
		return err
	default:
		return nil
	}
}

// Close implements io.Closer.
func (d *download) Close() error {
	defer d.cancel()
	return d.ReadCloser.Close()
}
