package mirror_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/ledger"
)

const (
	// faultsInARow is below the number of failures that opens the circuit breaker, unless the registry asks to wait.
	faultsInARow = 3
	// cutAfter is the number of bytes after which a blob is truncated, of 64 KiB.
	cutAfter = 1000
)

// fault is a failure of requests for blobs on their way to a registry.
type fault func(registry http.Handler) http.Handler

// faultyWay is a proxy to a registry, with failures of a few requests for blobs.
func faultyWay(t *testing.T, to *side, goesWrong fault) (*side, *atomic.Int32) {
	t.Helper()
	behind := ledger.Behind(to.Address)
	wrong, left := goesWrong(behind), &atomic.Int32{}
	left.Store(faultsInARow)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") && left.Add(-1) >= 0 {
			wrong.ServeHTTP(w, r)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return &side{Registry: &cluster.Registry{Address: server.Listener.Addr().String()}, options: to.options, plain: true}, left
}

func answersInstead(status int, retryAfter time.Duration) fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if retryAfter > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
			}
			w.WriteHeader(status)
		})
	}
}

func delays(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(300 * time.Millisecond)
		next.ServeHTTP(w, r)
	})
}

// cutsOff ends the connection after so many bytes of the request, or of the response.
func cutsOff(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			_, _ = io.CopyN(io.Discard, r.Body, cutAfter)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(&cutting{ResponseWriter: w, left: cutAfter}, r)
	})
}

type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// falsifies changes bytes in transit.
func falsifies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil {
			r.Body = falsified{r.Body}
		}
		next.ServeHTTP(falsifying{w}, r)
	})
}

type falsified struct{ io.ReadCloser }

func (f falsified) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	copy(p, inverse(p[:n]))
	return n, err
}

type falsifying struct{ http.ResponseWriter }

func (f falsifying) Write(p []byte) (int, error) { return f.ResponseWriter.Write(inverse(p)) }

func inverse(p []byte) []byte {
	made := make([]byte, len(p))
	for i, b := range p {
		made[i] = ^b
	}
	return made
}

// TestFaultsOnTheWayToRealRegistries: each failure has a reason that names the side, no incomplete image has a tag, a retry
// continues with what arrived, and in the end the image is complete.
func TestFaultsOnTheWayToRealRegistries(t *testing.T) {
	for name, row := range map[string]struct {
		goesWrong fault
		// reason is the reason for a source; empty if no copy fails.
		reason v1.Reason
		// isMended: the mirror refuses what arrived, and the copy reads and sends it once more.
		isMended bool
	}{
		"a delay":     {goesWrong: delays},
		"a cut":       {goesWrong: cutsOff, reason: v1.ReasonUnavailable},
		"429":         {goesWrong: answersInstead(http.StatusTooManyRequests, time.Second), reason: v1.ReasonRateLimited},
		"500":         {goesWrong: answersInstead(http.StatusInternalServerError, 0), reason: v1.ReasonUnavailable},
		"503":         {goesWrong: answersInstead(http.StatusServiceUnavailable, time.Second), reason: v1.ReasonUnavailable},
		"other bytes": {goesWrong: falsifies, reason: v1.ReasonInvalidContent, isMended: true},
	} {
		for _, where := range []string{"source", "mirror"} {
			t.Run(name+" at the "+where, func(t *testing.T) {
				t.Parallel()
				source, mirror := start(t, ""), start(t, "")
				_, digest := pushed(t, source, "latest")
				mirror, door := behindADoor(t, mirror)
				from, to, reason, fails := source, mirror, row.reason, row.reason != "" && !row.isMended
				var left *atomic.Int32
				if where == "source" {
					from, left = faultyWay(t, source, row.goesWrong)
				} else {
					to, left = faultyWay(t, mirror, row.goesWrong)
					reason = v1.ReasonMirrorUnavailable
				}
				client := newClient(t, from, to)
				failures := 0
				for {
					_, err := client.Copy(t.Context(), order(t, from, to, digest, "app", "0"))
					isThere, broken := ledger.PullIfThere(mirror.tag(t, "cache/shop/app", "0"), digest, mirror.options...)
					if broken != nil || isThere != (err == nil) {
						t.Fatalf("after %v it is there: %v, %v", err, isThere, broken)
					}
					if err == nil {
						break
					}
					var failed *regerr.Error
					if failures++; !errors.As(err, &failed) || failed.Reason() != reason || failures > 10*faultsInARow {
						t.Fatalf("try %d: got %v, want %s", failures, err, reason)
					}
					<-time.After(failed.RetryAfter())
				}
				if left.Load() > 0 || fails && failures == 0 || row.reason == "" && failures > 0 {
					t.Errorf("%d of %d requests went wrong, and the copy failed %d times", faultsInARow-max(left.Load(), 0), faultsInARow, failures)
				}
				if err := door.Check(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
