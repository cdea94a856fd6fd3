package registry

import (
	"context"
	"net/http"
	"net/url"
)

// nowhere is below the repository of a Tag, where none has anything.
const nowhere = "/none"

// separates says whether the mirror has a blob only in the repository that it was put into. It is asked for one that it has, in a
// repository where it cannot be.
func (m mirror) separates(ctx context.Context, blob descriptor) bool {
	elsewhere := m.mounting("")
	elsewhere.at.repository += nowhere
	return m.placements.separating.holds(ctx, m.at.address(), func(ctx context.Context) (bool, error) {
		var upload *url.URL
		err := elsewhere.patiently(ctx, func(ctx context.Context, with *session) (err error) {
			upload, _, err = elsewhere.offer(ctx, with, blob)
			return err
		})
		if err != nil || upload == nil {
			return false, err
		}
		elsewhere.leave(ctx, upload)
		return true, nil
	})
}

// leave cancels an upload. Where the registry does not let us, its own time for uploads does.
func (m mirror) leave(ctx context.Context, upload *url.URL) {
	m.at.writes, m.at.deletes = false, true
	_ = m.ask(ctx, func(ctx context.Context, with *session) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodDelete, upload.String(), nil)
		if err != nil {
			return err
		}
		response, err := with.send(request, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
		if err != nil {
			return err
		}
		return drain(response)
	})
}
