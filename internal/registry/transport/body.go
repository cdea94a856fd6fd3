package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
)

var (
	// errEncoded is a response with an encoding.
	errEncoded = regerr.Content("is compressed, which manifests never are")
	// errStalled ends a response that stalls.
	errStalled = regerr.Unreachable("it stopped in the middle of an answer")
)

// limitBody cuts every response at the limit, manifests and tokens alike. One that announces more is not read at all, and the
// response to a HEAD that announces more is the end, too. Of a refusal the beginning is read, which is most often all of it.
func limitBody(limit int64) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err != nil {
				return nil, err
			}
			if response.StatusCode != http.StatusOK {
				response.Body = &truncatedBody{ReadCloser: response.Body, left: maxRefusalBody}
				return response, nil
			}
			limit := bodyLimit(request.Context(), limit)
			if response.ContentLength > limit {
				response.Body.Close()
				return nil, manifest.ErrTooLarge
			}
			response.Body = &limitedBody{ReadCloser: response.Body, left: limit}
			return response, nil
		})
	}
}

// maxRefusalBody is how much of the body of a refusal is read, in bytes.
const maxRefusalBody = 8 << 10

// truncatedBody ends when what is left was read.
type truncatedBody struct {
	io.ReadCloser
	left int
}

func (b *truncatedBody) Read(buffer []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	count, err := b.ReadCloser.Read(buffer[:min(len(buffer), b.left)])
	b.left -= count
	return count, err
}

type bodyLimitKey struct{}

// WithBodyLimit sets the largest size of the response's body, in bytes.
func WithBodyLimit(ctx context.Context, limit int64) context.Context {
	return context.WithValue(ctx, bodyLimitKey{}, limit)
}

func bodyLimit(ctx context.Context, otherwise int64) int64 {
	if limit, said := ctx.Value(bodyLimitKey{}).(int64); said {
		return limit
	}
	return otherwise
}

// limitedBody fails once more than what is left was read.
type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(buffer []byte) (int, error) {
	count, err := b.ReadCloser.Read(buffer)
	b.left -= int64(count)
	if b.left < 0 {
		return 0, manifest.ErrTooLarge
	}
	return count, err
}

// EndsWithConnection reports whether a response does not say where it ends (RFC 9112, section 6.3): one that was cut off looks whole.
func EndsWithConnection(response *http.Response) bool {
	return response.ProtoMajor == 1 && response.ContentLength < 0 && len(response.TransferEncoding) == 0
}

// lengthCheckedBody is such a response. It was cut off if it ends while something is left.
type lengthCheckedBody struct {
	io.ReadCloser
	left int64
}

// CheckLength returns a body that fails where it ends before it has the size, in bytes.
func CheckLength(body io.ReadCloser, size int64) io.ReadCloser { return &lengthCheckedBody{body, size} }

func (b *lengthCheckedBody) Read(buffer []byte) (int, error) {
	count, err := b.ReadCloser.Read(buffer)
	b.left -= int64(count)
	if errors.Is(err, io.EOF) && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return count, err
}

// identityEncoding requests responses without encoding, and refuses those that are compressed nevertheless: what is hashed must be what
// was sent, and 100 KB must not become 100 MB here.
func identityEncoding(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
		request = request.Clone(request.Context())
		request.Header.Set("Accept-Encoding", "identity")
		response, err := next.RoundTrip(request)
		if err != nil || request.Method == http.MethodHead || response.StatusCode != http.StatusOK {
			return response, err
		}
		if encoding := response.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
			response.Body.Close()
			return nil, errEncoded
		}
		return response, nil
	})
}

// limitStall ends a response without a byte for that long.
func limitStall(limit time.Duration) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
			ctx, cancel := context.WithCancelCause(request.Context())
			response, err := next.RoundTrip(request.WithContext(ctx))
			if err != nil {
				cancel(nil)
				return nil, err
			}
			response.Body = &stallTimeoutBody{ReadCloser: response.Body, ctx: ctx, cancel: cancel, limit: limit}
			return response, nil
		})
	}
}

// stallTimeoutBody waits for each piece only so long. It does not count how long its reader takes between two pieces. A response
// that ends after we gave up is not whole, even where it says so: a server may end it properly because we hang up.
type stallTimeoutBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	limit  time.Duration
}

func (b *stallTimeoutBody) Read(buffer []byte) (int, error) {
	stall := time.AfterFunc(b.limit, func() { b.cancel(errStalled) })
	count, err := b.ReadCloser.Read(buffer)
	stall.Stop()
	if err != nil && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return count, err
}

func (b *stallTimeoutBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
