//go:build faults

package outage

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/images-io/tagger/test/cluster"
)

// pushOutage is how long the API server is gone.
const pushOutage = 30 * time.Second

// notify sends a push notification about a Tag's image to a replica.
func (w *world) notify(replica *cluster.Manager, token, tag string) error {
	body := strings.NewReader(fmt.Sprintf(`{"image":%q}`, w.source(tag)))
	response, err := http.Post(replica.PushURL+"/generic/"+token, "application/json", body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("a notification gets %s", response.Status)
	}
	return nil
}

// pair starts two replicas, of which the first leads, and returns them with the token of push notifications.
func (w *world) pair() (first, second *cluster.Manager, token string) {
	w.t.Helper()
	own, shared := w.webhook("first"), w.webhook("second")
	w.install(shared)
	first = w.manager(w.options("first", own, "--leader-elect=true"))
	second = w.manager(w.options("second", shared, "--leader-elect=true"))
	tokens, err := w.cluster.PushTokens(w.t.Context())
	w.do(err)
	return first, second, tokens["generic"]
}

// TestPush_APIServerIsGone: the replica that does not lead receives notifications meanwhile.
func TestPush_APIServerIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, second, token := w.pair()
	tags := w.tags(3)
	w.deployments(tags...)
	w.do(w.cluster.StopAPIServer(t.Context()))
	for _, tag := range tags {
		w.push(tag)
		w.do(w.notify(second, token, tag))
	}
	_, errs := throughout(t.Context(), pushOutage, time.Second, func(context.Context) error { return w.notify(second, token, tags[0]) })
	if len(errs) > 0 {
		t.Errorf("%d notifications were refused, such as: %v", len(errs), errs[0])
	}
	w.do(w.cluster.StartAPIServer(t.Context()))
	w.converges("the return of the API server", tags, 2)
}

// TestPush_LeaderChange sends each notification 200 times, to both replicas, while the leader stops.
func TestPush_LeaderChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second, token := w.pair()
	tags := w.tags(5)
	w.deployments(tags...)
	for _, tag := range tags {
		w.push(tag)
	}
	var sending sync.WaitGroup
	for _, tag := range tags {
		w.do(w.notify(first, token, tag)) // it writes them when it stops, at the latest
		sending.Go(func() {
			for range 200 {
				_ = w.notify(first, token, tag) // until it stops
				if err := w.notify(second, token, tag); err != nil {
					t.Error(err)
				}
			}
		})
	}
	w.do(first.Stop())
	sending.Wait()
	w.converges("the leader's stop", tags, 2)
}
