package limits

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// failedLimit is three times the manager's timeout for a silent host: 30 s.
const failedLimit = 90 * time.Second

// tenantNamespace is the namespace of a tenant that scans the cluster's networks with Tags.
const tenantNamespace = "tenant"

// causes are the results that a port scan distinguishes, with the text of the manager's log for each.
var causes = map[string]string{
	"closed":              "the connection failed", // the proxy responds with 502
	"silent":              "it does not answer in time",
	"plain HTTP":          "this needs plain HTTP",
	"unknown certificate": "its certificate is for another name",
}

// TestTenantDoesNotScanNetworks: a Tag of a private host has the same status, conditions and events, whatever listens there.
// Only the manager's log has the cause. The manager reaches the hosts through a proxy, which connects to listeners on loopback
// instead.
func TestTenantDoesNotScanNetworks(t *testing.T) {
	hosts := map[string]string{} // by the name of a Tag
	targets, causeAt := map[string]string{}, map[string]string{}
	listeners := privateListeners(t)
	for i, cause := range slices.Sorted(maps.Keys(listeners)) {
		for j, host := range []string{fmt.Sprintf("10.20.30.%d:5000", i), fmt.Sprintf("db-%d.shop.svc:5000", i)} {
			hosts[fmt.Sprintf("tag-%d-%d", i, j)], targets[host], causeAt[host] = host, listeners[cause], cause
		}
	}
	w := newWorld(t, "HTTPS_PROXY="+tunnels(t, targets))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenantNamespace}}))
	for name, host := range hosts {
		must(w.admin.Create(t.Context(), &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: tenantNamespace, Name: name}, Spec: v1.TagSpec{From: host + "/team/app:latest"}}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), failedLimit)
	defer cancel()
	for name := range hosts {
		w.fails(ctx, t, name)
	}
	all := map[string][]string{} // the names of Tags by their texts
	for name, host := range hosts {
		told := w.told(ctx, t, name)
		if !strings.Contains(told, host+" cannot be reached; ") {
			t.Errorf("Tag %s says %s", name, told)
		}
		told = strings.ReplaceAll(told, host, "HOST")
		all[told] = append(all[told], name)
	}
	if len(all) != 1 {
		t.Errorf("a tenant can tell hosts apart: %q", all)
	}
	written, err := os.ReadFile(w.manager.Log)
	must(err)
	for name, host := range hosts {
		if cause := causes[causeAt[host]]; !hasLine(string(written), host, cause) {
			t.Errorf("the manager's log does not say %q of %s, the host of Tag %s", cause, host, name)
		}
	}
}

// hasLine reports whether a line of the log has all parts.
func hasLine(written string, parts ...string) bool {
	for line := range strings.Lines(written) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			return true
		}
	}
	return false
}

// fails waits until a Tag has an attempt and an event about it.
func (w *world) fails(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	for {
		tag, events := w.read(ctx, t, name)
		if tag.Status.LastImportAttempt != nil && len(events) > 0 {
			return
		}
		w.pause(ctx)
	}
}

// read returns a Tag and its events.
func (w *world) read(ctx context.Context, t *testing.T, name string) (*v1.Tag, []corev1.Event) {
	t.Helper()
	tag, events := &v1.Tag{}, &corev1.EventList{}
	err := w.admin.Get(ctx, client.ObjectKey{Namespace: tenantNamespace, Name: name}, tag)
	if err == nil {
		err = w.admin.List(ctx, events, client.InNamespace(tenantNamespace), client.MatchingFields{"involvedObject.name": name})
	}
	if err != nil {
		t.Fatalf("Tag %s: %v; its status is %+v", name, err, tag.Status)
	}
	return tag, events.Items
}

// told returns each text of a Tag that a tenant sees, once, and without times.
func (w *world) told(ctx context.Context, t *testing.T, name string) string {
	t.Helper()
	tag, events := w.read(ctx, t, name)
	attempt := tag.Status.LastImportAttempt
	texts := sets.New(fmt.Sprintf("lastImportAttempt %t: %s", attempt.Succeed, attempt.Reason))
	for _, c := range tag.Status.Conditions {
		texts.Insert(fmt.Sprintf("condition %s %s %s: %s", c.Type, c.Status, c.Reason, c.Message))
	}
	for _, event := range events {
		texts.Insert(fmt.Sprintf("event %s %s: %s", event.Type, event.Reason, event.Message))
	}
	return strings.Join(sets.List(texts), "\n")
}

// privateListeners returns an address on loopback for each of the causes.
func privateListeners(t *testing.T) map[string]string {
	t.Helper()
	listen := func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		return listener
	}
	closed, silent := listen(), listen() // the kernel accepts connections to the silent one
	_ = closed.Close()
	plain, unknown := httptest.NewServer(http.NotFoundHandler()), httptest.NewUnstartedServer(http.NotFoundHandler())
	unknown.Config.ErrorLog = log.New(io.Discard, "", 0) // the manager ends each handshake
	unknown.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(unknown.Close)
	return map[string]string{
		"closed": closed.Addr().String(), "silent": silent.Addr().String(),
		"plain HTTP": plain.Listener.Addr().String(), "unknown certificate": unknown.Listener.Addr().String(),
	}
}

// tunnels serves a proxy that connects to the target of a host, and returns its URL.
func tunnels(t *testing.T, targets map[string]string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, err := net.Dial("tcp", targets[r.Host])
		if r.Method != http.MethodConnect || err != nil {
			http.Error(w, "the host cannot be reached", http.StatusBadGateway)
			return
		}
		defer target.Close()
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(target, client)
			_ = target.Close()
		}()
		_, _ = io.Copy(client, target)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
