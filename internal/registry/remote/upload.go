package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/transport"
)

// minHeadSize is from which size on a blob, in bytes, is asked for rather than sent for nothing, where it is not known
// whether the mirror tells by itself that it has it.
const minHeadSize = 4 << 20

var (
	// errNoUpload is a response without a location for the upload.
	errNoUpload = errors.New("the registry names no place for the upload")
)

// Outcome is what became of a blob.
type Outcome int

const (
	// Uploaded says that the blob was sent.
	Uploaded Outcome = iota
	// Skipped says that the repository had the blob.
	Skipped
	// Mounted says that the registry mounted the blob from another repository.
	Mounted
)

// MountOrStartUpload asks the mirror for a place to send a blob to; none where the blob is there by now. Mounting from the repository
// itself is how to ask for both at once (distribution-spec, "Mounting a blob from another repository"): a registry that
// mounts has the blob or tells where to send it.
func (m Mirror) MountOrStartUpload(ctx context.Context, requester Requester, blob manifest.Descriptor) (upload *url.URL, how Outcome, err error) {
	mounts, isKnown := m.Locations.Features.Has(endpoint.MountsKey(m.Endpoint))
	if isKnown && !mounts {
		return m.startUploadIfAbsent(ctx, requester, blob)
	}
	upload, err = m.startUpload(ctx, requester, "?"+url.Values{"mount": {blob.Digest.String()}, "from": {m.mountFrom()}}.Encode())
	switch {
	case refusesMounts(err):
		upload, how, err = m.startUploadIfAbsent(ctx, requester, blob)
		if err == nil {
			m.Locations.Features.Set(endpoint.MountsKey(m.Endpoint), false)
		}
		return upload, how, err
	case err != nil:
		return nil, Uploaded, err
	case upload == nil && m.Endpoint.MountFrom != "":
		return nil, Mounted, nil
	case upload == nil:
		m.Locations.Features.Set(endpoint.MountsKey(m.Endpoint), true)
		return nil, Skipped, nil
	case mounts, !m.Locations.IsHeld(m.Endpoint, blob.Digest) && blob.Size < minHeadSize:
		return upload, Uploaded, nil
	}
	isThere, err := m.blobExists(ctx, requester, blob)
	if err != nil || !isThere {
		return upload, Uploaded, err
	}
	m.Locations.Features.Set(endpoint.MountsKey(m.Endpoint), false)
	return nil, Skipped, nil
}

func (m Mirror) startUploadIfAbsent(ctx context.Context, requester Requester, blob manifest.Descriptor) (*url.URL, Outcome, error) {
	if isThere, err := m.blobExists(ctx, requester, blob); err != nil || isThere {
		return nil, Skipped, err
	}
	upload, err := m.startUpload(ctx, requester, "")
	if err == nil && upload == nil {
		err = errNoUpload
	}
	return upload, Uploaded, err
}

// mountFrom returns the repository to mount from.
func (m Mirror) mountFrom() string {
	if m.Endpoint.MountFrom != "" {
		return m.Endpoint.MountFrom
	}
	return m.Endpoint.Repository
}

// refusesMounts reports whether a registry refuses a request because it is one for a mount.
func refusesMounts(err error) bool {
	var response *ggcr.Error
	return errors.As(err, &response) && response.StatusCode/100 == 4 && !regerr.IsStatus(err, http.StatusUnauthorized, http.StatusTooManyRequests)
}

// GivesUpMounting reports whether a blob that could not be mounted from another repository is worth sending: the registry does not let
// us, or its token service takes no two scopes. Then the registry's blobs are mounted no more.
func (m Mirror) GivesUpMounting(err error) bool {
	if errors.Is(err, errNoLogin) && regerr.IsStatus(err, http.StatusBadRequest) {
		m.Locations.Features.Set(endpoint.MountsKey(m.Endpoint), false)
		return true
	}
	return wasRefused(err)
}

// blobExists asks with a HEAD whether a blob is there (distribution-spec, "Checking if content exists in the registry").
func (m Mirror) blobExists(ctx context.Context, requester Requester, blob manifest.Descriptor) (bool, error) {
	ctx, cancel := context.WithTimeout(transport.WithBodyLimit(ctx, blob.Size), m.Timeouts.Request)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, m.Endpoint.BlobURL(requester.Scheme, blob.Digest), nil)
	if err != nil {
		return false, err
	}
	response, err := requester.send(request, http.StatusOK)
	if regerr.IsStatus(err, http.StatusNotFound) || errors.Is(err, manifest.ErrTooLarge) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, drain(response)
}

// startUpload opens an upload. None is opened where a blob was mounted.
func (m Mirror) startUpload(ctx context.Context, requester Requester, query string) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, m.Timeouts.Request)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Endpoint.URL(requester.Scheme, "blobs/uploads/")+query, nil)
	if err != nil {
		return nil, err
	}
	response, err := requester.send(request, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusCreated {
		return nil, drain(response)
	}
	upload, err := response.Location()
	if err != nil {
		return nil, errors.Join(errNoUpload, err)
	}
	// An upload goes on at the registry itself. Behind a proxy many name a host, or a scheme, that is not for us; and another
	// host must not see the content.
	upload.Scheme, upload.Host, upload.User = response.Request.URL.Scheme, response.Request.URL.Host, nil
	return upload, drain(response)
}

// PutBlob sends a blob in one piece (distribution-spec, "POST then PUT").
func (m Mirror) PutBlob(ctx context.Context, requester Requester, to *url.URL, blob manifest.Descriptor, content io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := newUpload(content, m.Timeouts, func() { cancel(regerr.ErrUploadStalled) })
	defer body.timer.Stop()
	request, err := body.request(ctx, to, blob)
	if err != nil {
		return err
	}
	response, err := requester.send(request, http.StatusCreated, http.StatusNoContent)
	failure := body.failure.Load()
	switch {
	case failure != nil:
		return *failure
	case errors.Is(context.Cause(ctx), regerr.ErrUploadStalled):
		return regerr.ErrUploadStalled
	case err != nil:
		return err
	}
	return drain(response)
}

// upload is the content of a blob as a request's body. The time that its reader, who sends what was read, takes for a piece is
// limited; so is the time for the end, with which the mirror stores the blob.
type upload struct {
	io.Reader
	timeouts transport.Timeouts
	timer    *time.Timer
	// failure is why there is no more content.
	failure atomic.Pointer[error]
}

func newUpload(content io.Reader, timeouts transport.Timeouts, stalled func()) *upload {
	return &upload{Reader: content, timeouts: timeouts, timer: time.AfterFunc(timeouts.Stall, stalled)}
}

func (u *upload) request(ctx context.Context, to *url.URL, blob manifest.Descriptor) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), u)
	if err != nil {
		return nil, err
	}
	query := to.Query()
	query.Set("digest", blob.Digest.String())
	request.URL.RawQuery = query.Encode()
	request.Header.Set("Content-Type", "application/octet-stream")
	request.ContentLength = blob.Size
	if blob.Size == 0 {
		request.Body = http.NoBody
		if _, err := u.Read(nil); err != nil && !errors.Is(err, io.EOF) { // which judges it
			return nil, err
		}
	}
	return request, nil
}

// Read implements io.Reader.
func (u *upload) Read(buffer []byte) (int, error) {
	u.timer.Stop()
	count, err := u.Reader.Read(buffer)
	limit := u.timeouts.Stall
	if err != nil {
		limit += u.timeouts.Store
	}
	u.timer.Reset(limit)
	if err != nil && !errors.Is(err, io.EOF) {
		failure := errors.Join(regerr.ErrAtSource, err)
		u.failure.Store(&failure)
		return count, failure
	}
	return count, err
}

// drain reads the short rest of a response, so that its connection is kept.
func drain(response *http.Response) error {
	defer response.Body.Close()
	_, err := io.CopyN(io.Discard, response.Body, 4<<10)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// refusedAlgorithm returns the digest that a registry does not take, where its algorithm is not the one that each registry has to
// know (image-spec, "Registered algorithms"); else it is empty.
func refusedAlgorithm(err error) string {
	var response *ggcr.Error
	if !errors.As(err, &response) || response.Request == nil || errors.Is(err, errNoLogin) || !regerr.IsStatus(err, http.StatusBadRequest) {
		return ""
	}
	named := response.Request.URL.Query().Get("digest") + response.Request.URL.Query().Get("mount")
	if _, identifier, found := strings.Cut(response.Request.URL.Path, "/manifests/"); found {
		named = identifier
	}
	if parsed, err := digest.Parse(named); err != nil || parsed.Algorithm() == digest.Canonical {
		return ""
	}
	return named
}
