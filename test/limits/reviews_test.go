// Package limits runs the manager as config/manager ships it, with its memory limit, under attacks by tenants.
package limits

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// readyLimit is three times the promise of docs/security.md for a Tag of another namespace: 10 s.
const readyLimit = 30 * time.Second

// sent and declared are the sizes of an incomplete review: 6.4 of 7 MB.
const sent, declared = 6_400_000, 7_000_000

// TestLargeReviewsDoNotEndTheManager sends reviews to the manager's port from many connections at once.
func TestLargeReviewsDoNotEndTheManager(t *testing.T) {
	w := newWorld(t)
	for name, attack := range map[string]func(ctx context.Context, w *world) *sync.WaitGroup{
		"128 connections send reviews of 6.4 MiB": func(ctx context.Context, w *world) *sync.WaitGroup {
			review := largeReview(6400 << 10)
			return atOnce(128, func() { w.flood(ctx, review) })
		},
		"70 connections send a part of a review and stop": func(ctx context.Context, w *world) *sync.WaitGroup {
			part := largeReview(declared)[:sent]
			return atOnce(70, func() { w.stop(ctx, part) })
		},
		"64 connections send small reviews of containers without a field": func(ctx context.Context, w *world) *sync.WaitGroup {
			review := reviewOf(strings.TrimSuffix(strings.Repeat("{},", 20_000), ","))
			return atOnce(64, func() { w.flood(ctx, review) })
		},
		"64 connections send YAML": func(ctx context.Context, w *world) *sync.WaitGroup {
			review := []byte(strings.Repeat("- a\n", 1_700_000))
			return atOnce(64, func() { w.flood(ctx, review) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			clients := attack(ctx, w)
			took := w.becomesReady(t)
			cancel()
			clients.Wait()
			peak, err := w.manager.PeakMemory()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("a Tag was Ready after %.1f s; the manager had %d MiB at most", took.Seconds(), peak>>20)
			if peak > w.limits.Memory {
				t.Errorf("the manager had %d MiB, above its limit of %d MiB", peak>>20, w.limits.Memory>>20)
			}
			if err := w.manager.Exited(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// arrival is the time limit for a review to arrive.
const arrival = 10 * time.Second

func TestReviewsAreLimitedInSizeAndTime(t *testing.T) {
	w := newWorld(t)
	t.Run("one above 7 MiB is refused", func(t *testing.T) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url, bytes.NewReader(largeReview(8<<20)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Expect", "100-continue") // the response precedes the body, and the connection ends
		response, err := w.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("the response is %s, want 413", response.Status)
		}
	})
	part := largeReview(declared)
	for name, length := range map[string]int{"headers only": 0, "a part": 1000, "most": sent} {
		t.Run("the connection of one that stops ends: "+name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*arrival)
			defer cancel()
			if err := w.sendPart(ctx, part[:length]); err != nil || ctx.Err() != nil {
				t.Errorf("it is open after %s, or was never: %v", 3*arrival, err)
			}
		})
	}
}

type world struct {
	limits   cluster.ShippedLimits
	manager  *cluster.Manager
	registry *cluster.Registry
	admin    client.Client
	client   *http.Client
	address  string
	url      string
	tags     int
}

func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "tagger-limits-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v; the logs are in %s", err, dir)
		}
	}
	cleanup := func(stop func() error) {
		t.Cleanup(func() {
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
	w := &world{}
	w.limits, err = cluster.ReadShippedLimits()
	must(err)
	c, err := cluster.Start(t.Context(), cluster.Options{Dir: filepath.Join(dir, "cluster")})
	must(err)
	cleanup(c.Stop)
	w.registry, err = cluster.StartRegistry(t.Context(), cluster.RegistryOptions{Dir: filepath.Join(dir, "registry")})
	must(err)
	cleanup(w.registry.Stop)
	conf := filepath.Join(dir, "registries.conf")
	must(harness.WriteRegistriesConf(conf, w.registry.Address))
	webhook, err := cluster.ReserveWebhook()
	must(err)
	must(cluster.Install(t.Context(), c, webhook.Endpoint))
	w.manager, err = cluster.StartManager(t.Context(), cluster.ManagerOptions{
		Dir: filepath.Join(dir, "manager"), Cluster: c, Webhook: webhook, RegistriesConf: conf, Env: append(w.limits.Env, env...),
	})
	must(err)
	cleanup(w.manager.Stop)
	w.admin, err = client.New(c.Config, client.Options{Scheme: harness.Scheme()})
	must(err)
	w.address = net.JoinHostPort(webhook.Host, fmt.Sprint(webhook.Port))
	w.url = webhook.Endpoint.URL + "/pin-workload"
	w.client = &http.Client{Transport: &http.Transport{TLSClientConfig: anyCertificate(), DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
	return w
}

// becomesReady creates a Tag in a namespace of its own and returns the time until it is Ready.
func (w *world) becomesReady(t *testing.T) time.Duration {
	t.Helper()
	w.tags++
	name := fmt.Sprintf("tenant-%d", w.tags)
	if _, err := cluster.PushImage(t.Context(), w.registry.Address+"/"+name+":latest", name); err != nil {
		t.Fatal(err)
	}
	if err := w.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), readyLimit)
	defer cancel()
	tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "myapp"}, Spec: v1.TagSpec{From: w.registry.Address + "/" + name + ":latest"}}
	if err := w.admin.Create(ctx, tag); err != nil {
		t.Fatal(err)
	}
	for tag.Current() == nil {
		if err := w.admin.Get(ctx, client.ObjectKeyFromObject(tag), tag); err != nil {
			t.Fatalf("after %s the Tag has no import: %v", time.Since(start), err)
		}
		w.pause(ctx)
	}
	return time.Since(start)
}

// pause lets a poll wait.
func (*world) pause(ctx context.Context) {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// flood sends a review again and again, each time on a new connection. The first one is sent to the end.
func (w *world) flood(ctx context.Context, review []byte) {
	for sending := context.WithoutCancel(ctx); sending.Err() == nil; sending = ctx {
		request, err := http.NewRequestWithContext(sending, http.MethodPost, w.url, bytes.NewReader(review))
		if err != nil {
			return
		}
		request.Header.Set("Content-Type", "application/json")
		if response, err := w.client.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
}

// stop sends a part of a review and stops, again and again.
func (w *world) stop(ctx context.Context, part []byte) {
	for ctx.Err() == nil {
		_ = w.sendPart(ctx, part) // the manager may not accept it
	}
}

// sendPart sends a part of a review and waits until the manager ends the connection. It returns an error
// where there was no connection.
func (w *world) sendPart(ctx context.Context, part []byte) error {
	dialer := tls.Dialer{Config: anyCertificate()}
	connection, err := dialer.DialContext(ctx, "tcp", w.address)
	if err != nil {
		return err
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	_, _ = fmt.Fprintf(connection, "POST /pin-workload HTTP/1.1\r\nHost: tagger\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", declared)
	_, _ = connection.Write(part)
	_, _ = io.Copy(io.Discard, connection)
	return nil
}

func anyCertificate() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func atOnce(n int, do func()) *sync.WaitGroup {
	var running sync.WaitGroup
	for range n {
		running.Go(do)
	}
	return &running
}

// largeReview is an AdmissionReview of about that many bytes: an opted-in Deployment with many containers.
func largeReview(size int) []byte {
	var containers strings.Builder
	for i := 0; containers.Len() < size-1000; i++ {
		fmt.Fprintf(&containers, `{"name":"c%d","image":"myapp","args":[%q],"resources":{}},`, i, strings.Repeat("a", 300))
	}
	return reviewOf(strings.TrimSuffix(containers.String(), ","))
}

func reviewOf(containers string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"group":"apps","version":"v1","kind":"Deployment"},`+
		`"resource":{"group":"apps","version":"v1","resource":"deployments"},"name":"app","namespace":"dev","operation":"CREATE","userInfo":{"username":"alice"},`+
		`"object":{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"app","namespace":"dev","annotations":{"image-tag":"true"}},`+
		`"spec":{"template":{"spec":{"containers":[%s]}}}},"oldObject":null,"options":null,"dryRun":true}}`, containers)
}
