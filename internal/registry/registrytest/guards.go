package registrytest

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
)

// Refuse responds with an error as a registry does (distribution-spec, "Error codes").
func Refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}})
}

// Mounting returns a registry that mounts blobs from repositories that have them, and serves a blob only in the repositories to which it was
// uploaded, as most registries do.
func Mounting(next http.Handler) http.Handler {
	var mutex sync.Mutex
	held := map[string]bool{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, blob, isBlob := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
		query := r.URL.Query()
		mutex.Lock()
		isHeld, isHere := held[query.Get("from")+query.Get("mount")], held[repository+blob]
		mutex.Unlock()
		hold := func(digest string) {
			mutex.Lock()
			defer mutex.Unlock()
			held[repository+digest] = true
		}
		if isBlob && !isHere && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			Refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
			return
		}
		if r.Method == http.MethodPost && isHeld {
			hold(query.Get("mount"))
			w.WriteHeader(http.StatusCreated)
			return
		}
		answer := &noting{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		if answer.status == http.StatusCreated && query.Has("digest") {
			hold(query.Get("digest"))
		}
	})
}

// noting is a response writer that keeps the status.
type noting struct {
	http.ResponseWriter
	status int
}

func (n *noting) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}

// KnowsNoMounts returns a registry that refuses requests to mount a blob.
func KnowsNoMounts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("mount") {
			Refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
			return
		}
		next.ServeHTTP(w, r)
	})
}
