//go:build faults

package outage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// compact makes etcd drop all former versions, as it does every five minutes for the API server. It uses the JSON of etcd's
// gateway (https://etcd.io/docs/latest/dev-guide/api_grpc_gateway).
func (w *world) compact() {
	w.t.Helper()
	var now struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	w.etcd("/v3/kv/range", map[string]any{"key": "AA==", "count_only": true}, &now)
	revision, err := strconv.ParseInt(now.Header.Revision, 10, 64)
	w.do(err)
	w.etcd("/v3/kv/compaction", map[string]any{"revision": revision, "physical": true}, &struct{}{})
}

func (w *world) etcd(path string, request, response any) {
	w.t.Helper()
	body, err := json.Marshal(request)
	w.do(err)
	post, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.cluster.EtcdURL()+path, bytes.NewReader(body))
	w.do(err)
	answer, err := http.DefaultClient.Do(post)
	w.do(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		w.do(fmt.Errorf("etcd answers %s to %s", answer.Status, path))
	}
	w.do(json.NewDecoder(answer.Body).Decode(response))
}
