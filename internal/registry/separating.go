package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
)

// nowhere is below the repository of a Tag, where none has anything.
const nowhere = "/none"

// believe has a blob counted as found. There are registries that say of every blob that they have it, in whatever repository; there
// the source must show that it has it.
func (m mirror) believe(ctx context.Context, content *download) error {
	if m.separates(ctx, content.of) {
		return nil
	}
	content.compare()
	if _, err := io.Copy(io.Discard, content); err != nil {
		return errors.Join(errAtSource, err)
	}
	return nil
}

// separates says whether the mirror has a blob only in the repository that it was put into. It is asked for one that it has, in a
// repository where it cannot be.
func (m mirror) separates(ctx context.Context, blob descriptor) bool {
	elsewhere := m.mounting("")
	elsewhere.at.repository += nowhere
	return m.placements.separating.holds(ctx, m.at.address(), func(ctx context.Context) (separates bool, err error) {
		err = elsewhere.patiently(ctx, func(ctx context.Context, with *session) error {
			upload, _, err := elsewhere.offer(ctx, with, blob)
			if separates = upload != nil; separates {
				elsewhere.leave(ctx, with, upload)
			}
			return err
		})
		return separates, err
	})
}

// leave cancels an upload. Where the registry does not know how, its own time for uploads does.
func (m mirror) leave(ctx context.Context, with *session, upload *url.URL) {
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, upload.String(), nil)
	if err != nil {
		return
	}
	if response, err := with.send(request, http.StatusNoContent, http.StatusOK, http.StatusAccepted); err == nil {
		_ = drain(response)
	}
}
