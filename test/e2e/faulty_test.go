package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// faultyRegistry responds by the first segment of the repository: with that status code, or as a hostile registry does. Faults
// that open the circuit breaker of a host have a host of their own.
type faultyRegistry struct {
	servers                  []*httptest.Server
	address, limited, broken string
	// mute never responds, dripping sends a byte of a manifest a second, and elsewhere names a token service at the metadata.
	mute, dripping, elsewhere string
	// unlisted is the address of the same in a registry that registries.conf does not list.
	unlisted string
	// slow is the registry of the tests, which takes 0.7 s for each request here.
	slow string
	// crowded is as slow, for the Tags of one test, and shared is that registry, too, with a folder that responds with 500.
	crowded, shared string
	// stalling is the same registry, which sends no blobs; reads counts the waiting clients.
	stalling string
	reads    atomic.Int32
	// closed is an address without a listener.
	closed string
}

var faults = map[string]int{
	"unauthorized": http.StatusUnauthorized,
	"forbidden":    http.StatusForbidden,
	"missing":      http.StatusNotFound,
	"broken":       http.StatusInternalServerError,
	"limited":      http.StatusTooManyRequests,
}

// hostile are invalid responses.
var hostile = map[string]http.HandlerFunc{
	"huge": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "104857600") },
	"crowded": read(`{"schemaVersion":2,"manifests":[` +
		strings.TrimSuffix(strings.Repeat(`{"digest":"sha256:`+strings.Repeat("0", 64)+`"},`, 10_000), ",") + `]}`),
	"itself": read(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`),
	"compressed": func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, planted)
		}
	},
	"loop": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	},
	"metadata": redirect("http://169.254.169.254/latest/meta-data/?token=" + planted),
	"loopback": redirect("https://2130706433:6443/version?token=" + planted),
	"talkative": func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead { // a response to HEAD has no text
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		text, _ := json.Marshal(forged("registry") + strings.Repeat("and so on, ", 200))
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":%s}]}`, text)
	},
	"cut": func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		}
	},
}

// read is content without a digest in the response, so that it has to be read.
func read(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, content)
		}
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
}

// planted is a secret that the registry sends in its errors, and that Tagger must not repeat.
const planted = "hunter2-planted-secret"

func newFaultyRegistry(registry string) *faultyRegistry {
	f := &faultyRegistry{}
	for _, address := range []*string{&f.address, &f.limited, &f.broken, &f.unlisted} {
		*address = f.open(f.serve)
	}
	f.mute = f.open(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f.dripping = f.open(drip)
	f.slow, f.crowded = f.open(slowly(registry)), f.open(slowly(registry))
	f.shared = f.open(failingFor(registry, func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v2/broken/") }))
	f.stalling = f.open(f.withoutBlobs(registry))
	f.elsewhere = f.open(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://169.254.169.254/token",service="`+planted+`"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	f.closed = listener.Addr().String()
	_ = listener.Close()
	return f
}

func (f *faultyRegistry) open(answer http.HandlerFunc) (address string) {
	server := httptest.NewServer(answer)
	f.servers = append(f.servers, server)
	return strings.TrimPrefix(server.URL, "http://")
}

// drip is a registry without digests in its responses, whose manifests do not end.
func drip(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/") {
		return
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		_, _ = io.WriteString(w, " ")
		w.(http.Flusher).Flush()
		select {
		case <-second.C:
		case <-r.Context().Done():
			return
		}
	}
}

// slowly passes requests on to a registry after 0.7 s.
func slowly(registry string) http.HandlerFunc {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(700 * time.Millisecond):
			proxy.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// withoutBlobs passes requests on to a registry, apart from those for blobs, which wait until their client leaves.
func (f *faultyRegistry) withoutBlobs(registry string) http.HandlerFunc {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			proxy.ServeHTTP(w, r)
			return
		}
		f.reads.Add(1)
		defer f.reads.Add(-1)
		<-r.Context().Done()
	}
}

func (f *faultyRegistry) serve(w http.ResponseWriter, r *http.Request) {
	fault, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	if answer, ok := hostile[fault]; ok {
		answer(w, r)
		return
	}
	code, ok := faults[fault]
	if !ok {
		w.WriteHeader(http.StatusOK)
		return
	}
	http.Error(w, planted, code)
}

func (f *faultyRegistry) stop() error {
	for _, server := range f.servers {
		server.CloseClientConnections()
		server.Close()
	}
	return nil
}
