package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ledger is a proxy to a registry.
type Ledger struct {
	// Address is host:port of the proxy.
	Address string

	server *httptest.Server
	delay  time.Duration

	mu       sync.Mutex
	requests int
	awaited  map[int]chan struct{}
	// acknowledged are the blobs that the registry confirmed, by repository and digest, with the number of requests so far;
	// begun is the request that started an upload, by its path; and again are the blobs that were sent although the upload
	// started later.
	acknowledged, begun map[string]int
	again               []string
	mounts              []Mount
}

// Mount is a request to mount a blob of a repository (distribution-spec, "Mounting a blob from another repository").
type Mount struct {
	// Into and From are the paths of repositories.
	Into, From string
}

// Behind returns a proxy to the registry at an address, in plain HTTP. Clients may cancel a request, so it logs no errors.
func Behind(registry string) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: registry})
			r.Out.Host = r.In.Host // so that the registry's locations name the proxy
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// Open starts a proxy to the registry at an address, in plain HTTP. It delays each request.
func Open(registry string, delay time.Duration) *Ledger {
	l := &Ledger{delay: delay, awaited: map[int]chan struct{}{}, acknowledged: map[string]int{}, begun: map[string]int{}}
	behind := Behind(registry)
	behind.ModifyResponse = l.answered
	l.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = l.book(r)
		select {
		case <-time.After(l.delay):
			behind.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	l.Address = l.server.Listener.Addr().String()
	return l
}

// Close closes the proxy.
func (l *Ledger) Close() { l.server.Close() }

// Requests returns the number of requests.
func (l *Ledger) Requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

// Request returns a channel that is closed after so many requests.
func (l *Ledger) Request(count int) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	awaited := make(chan struct{})
	if count <= l.requests {
		close(awaited)
		return awaited
	}
	if l.awaited[count] == nil {
		l.awaited[count] = awaited
	}
	return l.awaited[count]
}

// Mounts returns the requested mounts.
func (l *Ledger) Mounts() []Mount {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.mounts)
}

// Check returns an error if a blob was sent once more although the registry had confirmed it, or if none was ever sent.
func (l *Ledger) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.acknowledged) == 0 {
		return errors.New("no blob arrived")
	}
	if len(l.again) > 0 {
		return fmt.Errorf("%d of %d blobs were sent again: %s", len(l.again), len(l.acknowledged), strings.Join(l.again, ", "))
	}
	return nil
}

type numberKey struct{}

// book counts a request, and stores its number in it.
func (l *Ledger) book(r *http.Request) *http.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if awaited := l.awaited[l.requests]; awaited != nil {
		close(awaited)
		delete(l.awaited, l.requests)
	}
	if query := r.URL.Query(); query.Has("mount") || query.Has("from") {
		l.mounts = append(l.mounts, Mount{Into: repository(r), From: query.Get("from")})
	}
	if blob, isUpload := uploaded(r); isUpload {
		if known, isKnown := l.acknowledged[blob]; isKnown && known < l.begun[r.URL.Path] {
			l.again = append(l.again, blob)
		}
	}
	return r.WithContext(context.WithValue(r.Context(), numberKey{}, l.requests))
}

// answered records which uploads begin, and which blobs have arrived.
func (l *Ledger) answered(response *http.Response) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	blob, isUpload := uploaded(response.Request)
	switch {
	case isUpload && response.StatusCode == http.StatusCreated:
		l.acknowledged[blob] = l.requests
	case response.Request.Method == http.MethodPost && response.StatusCode == http.StatusAccepted:
		upload, err := response.Location()
		if err != nil {
			return err
		}
		number, _ := response.Request.Context().Value(numberKey{}).(int)
		l.begun[upload.Path] = number
	}
	return nil
}

// uploaded returns the repository and the digest of a blob in a request (distribution-spec, "POST then PUT").
func uploaded(r *http.Request) (blob string, isUpload bool) {
	into := repository(r)
	return into + "@" + r.URL.Query().Get("digest"), into != "" && r.Method == http.MethodPut
}

// repository returns the path of the repository of an upload, or nothing.
func repository(r *http.Request) string {
	path, _, found := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/uploads/")
	if !found {
		return ""
	}
	return path
}
