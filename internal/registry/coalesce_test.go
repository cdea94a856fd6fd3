package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/transport"
)

const someDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// slow is a registry that greets at once, and gives the digest after a second.
type slow struct{ heads atomic.Int32 }

func (s *slow) RoundTrip(request *http.Request) (*http.Response, error) {
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: request, Body: io.NopCloser(bytes.NewReader(nil))}
	if request.Method == http.MethodHead {
		s.heads.Add(1)
		select {
		case <-time.After(time.Second):
		case <-request.Context().Done():
			return nil, request.Context().Err()
		}
		answer.Header.Set("Docker-Content-Digest", someDigest)
	}
	return answer, nil
}

// newSlowClient and its registry, and a source there.
func newSlowClient(t *testing.T, limit time.Duration) (*registry.Client, *slow, reference.Source) {
	t.Helper()
	upstream := &slow{}
	options := transport.Options{Around: func(http.RoundTripper) http.RoundTripper { return upstream }, Timeouts: transport.Timeouts{Request: limit}}
	client := registry.New(registry.Options{Options: options})
	source, err := reference.Parse("registry.example.com/team/app", "")
	if err != nil {
		t.Fatal(err)
	}
	return client, upstream, source
}

func TestCoalesce_SameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, upstream, source := newSlowClient(t, 0)
		for range 100 {
			go func() {
				if got, err := client.Resolve(t.Context(), source, anonymous, now()); got != someDigest {
					t.Errorf("got %s, %v", got, err)
				}
			}()
		}
		synctest.Wait()
		<-time.After(2 * time.Second)
		if heads := upstream.heads.Load(); heads != 1 {
			t.Errorf("%d HEADs, want 1", heads)
		}
	})
}

func TestCoalesce_OtherCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, upstream, source := newSlowClient(t, 0)
		for _, user := range []string{"alice", "bob"} {
			credentials := keyring(t, auths(t, map[string]map[string]string{"registry.example.com": login(user, "p")}))
			go func() {
				if got, err := client.Resolve(t.Context(), source, credentials, now()); got != someDigest {
					t.Errorf("got %s, %v", got, err)
				}
			}()
		}
		synctest.Wait()
		<-time.After(2 * time.Second)
		if heads := upstream.heads.Load(); heads != 2 {
			t.Errorf("%d HEADs, want one each", heads)
		}
	})
}

func TestTheOneWhoAskedFirstMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, upstream, source := newSlowClient(t, 0)
		first, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := client.Resolve(first, source, anonymous, now())
			left <- err
		}()
		synctest.Wait()
		stayed := make(chan string, 1)
		go func() {
			got, _ := client.Resolve(t.Context(), source, anonymous, now())
			stayed <- got
		}()
		synctest.Wait()
		leave()
		synctest.Wait()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		if got := <-stayed; got != someDigest || upstream.heads.Load() != 1 {
			t.Errorf("who stayed got %q with %d HEADs", got, upstream.heads.Load())
		}
	})
}

func TestARegistryThatNeverEndsIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _, source := newSlowClient(t, time.Millisecond)
		_, err := client.Resolve(t.Context(), source, anonymous, now())
		var failure *regerr.Error
		if !errors.As(err, &failure) || failure.Reason() != v1.ReasonUnavailable || failure.Terminal() {
			t.Errorf("got %v", err)
		}
	})
}
