package registry

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

	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
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
func newSlowClient(t *testing.T) (*Client, *slow, reference.Source) {
	t.Helper()
	client := New(Options{})
	registry := &slow{}
	client.sessions.transports.wires.current.Store(&wires{verified: registry, unverified: registry})
	source, err := reference.Parse("registry.example.com/team/app", "")
	if err != nil {
		t.Fatal(err)
	}
	return client, registry, source
}

func TestTheSameQuestionAtTheSameTimeIsOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, registry, source := newSlowClient(t)
		for range 100 {
			go func() {
				if got, err := client.Resolve(t.Context(), source, Keyring{}); got != someDigest {
					t.Errorf("got %s, %v", got, err)
				}
			}()
		}
		synctest.Wait()
		<-time.After(2 * time.Second)
		if heads := registry.heads.Load(); heads != 1 {
			t.Errorf("%d HEADs, want 1", heads)
		}
	})
}

func TestTheSameQuestionByAnotherIsARequestOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, registry, source := newSlowClient(t)
		for _, user := range []string{"alice", "bob"} {
			written, err := parseEntry("registry.example.com", []byte(`{"username":"`+user+`","password":"p"}`))
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				if got, err := client.Resolve(t.Context(), source, newKeyring([]entry{written})); got != someDigest {
					t.Errorf("got %s, %v", got, err)
				}
			}()
		}
		synctest.Wait()
		<-time.After(2 * time.Second)
		if heads := registry.heads.Load(); heads != 2 {
			t.Errorf("%d HEADs, want one each", heads)
		}
	})
}

func TestTheOneWhoAskedFirstMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, registry, source := newSlowClient(t)
		first, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := client.Resolve(first, source, Keyring{})
			left <- err
		}()
		synctest.Wait()
		stayed := make(chan string, 1)
		go func() {
			got, _ := client.Resolve(t.Context(), source, Keyring{})
			stayed <- got
		}()
		synctest.Wait()
		leave()
		synctest.Wait()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		if got := <-stayed; got != someDigest || registry.heads.Load() != 1 {
			t.Errorf("who stayed got %q with %d HEADs", got, registry.heads.Load())
		}
	})
}

func TestARegistryThatNeverEndsIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _, source := newSlowClient(t)
		client.answers.limit = time.Millisecond
		_, err := client.Resolve(t.Context(), source, Keyring{})
		var failure *regerr.Error
		if !errors.As(err, &failure) || failure.Reason() != v1.ReasonUnavailable || failure.Terminal() {
			t.Errorf("got %v", err)
		}
	})
}
