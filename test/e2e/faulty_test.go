package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
)

// faultyRegistry answers by the first segment of the repository: with that status code. Faults that have a whole host left
// alone have a host of their own.
type faultyRegistry struct {
	servers                  []*httptest.Server
	address, limited, broken string
	// unlisted is the address of the same in a registry that registries.conf does not name.
	unlisted string
	// closed is an address that nobody listens on.
	closed string
}

var faults = map[string]int{
	"unauthorized": http.StatusUnauthorized,
	"forbidden":    http.StatusForbidden,
	"missing":      http.StatusNotFound,
	"broken":       http.StatusInternalServerError,
	"limited":      http.StatusTooManyRequests,
}

// planted is a secret that the registry sends in its errors, and that must not get anywhere.
const planted = "hunter2-planted-secret"

func newFaultyRegistry() *faultyRegistry {
	f := &faultyRegistry{}
	for _, address := range []*string{&f.address, &f.limited, &f.broken, &f.unlisted} {
		server := httptest.NewServer(http.HandlerFunc(f.serve))
		f.servers = append(f.servers, server)
		*address = strings.TrimPrefix(server.URL, "http://")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	f.closed = listener.Addr().String()
	_ = listener.Close()
	return f
}

func (f *faultyRegistry) serve(w http.ResponseWriter, r *http.Request) {
	fault, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	code, ok := faults[fault]
	if !ok {
		w.WriteHeader(http.StatusOK)
		return
	}
	http.Error(w, planted, code)
}

func (f *faultyRegistry) stop() error {
	for _, server := range f.servers {
		server.Close()
	}
	return nil
}
