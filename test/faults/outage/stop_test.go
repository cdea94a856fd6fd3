//go:build faults

package outage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/app"
	"github.com/images-io/tagger/test/cluster"
)

const (
	// stops is how long the manager may take to exit after a signal.
	stops = 10 * time.Second
	// clients is the number of connections to admission, and reviews the number of concurrent reviews on each.
	clients, reviews = 6, 10
)

// filtered is controller-runtime's, of an informer that ends while an event arrives: it never passes the event on.
var filtered = goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop")

// TestStopCompletesAdmissionRequests sends SIGTERM to bin/manager while it reads a Tag for each of sixty reviews, and while it
// imports from a registry that does not respond.
func TestStopCompletesAdmissionRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	webhook := w.webhook("manager")
	w.install(webhook)
	proxy, kubeconfig := w.proxied()
	manager := w.manager(w.options("manager", webhook, kubeconfig, "--leader-elect=true"))
	tag := w.tags(1)[0]
	w.stall(tag)
	late := w.unseen(proxy)

	proxy.holdBack(func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/tags/"+late)
	})
	wait := w.underReview(webhook, late)
	w.eventually("all reviews under way", func(context.Context) error {
		if waiting, _ := proxy.counts(); waiting < clients*reviews {
			return fmt.Errorf("%d of %d", waiting, clients*reviews)
		}
		return nil
	})
	told, stopped := time.Now(), make(chan error, 1)
	go func() { stopped <- manager.Stop() }()
	w.eventually("the webhooks' end", func(context.Context) error { return logged(manager.Log, "Shutting down webhook server") })
	proxy.release()

	if errs := wait(); len(errs) > 0 {
		t.Errorf("%d of %d reviews were not answered as they should have been, such as: %v", len(errs), clients*reviews, errs[0])
	}
	w.do(<-stopped) // an error means that it was killed, or exited with another code than 0
	t.Logf("the manager ended %.1f s after SIGTERM, with %d reviews and an import under way; the promise is %s", time.Since(told).Seconds(), clients*reviews, stops)
	if took := time.Since(told); took > 3*stops {
		t.Errorf("it ended after %s", took)
	}
	w.leaseIsFree()
}

// TestAManagerThatEndedLeavesNoGoroutine runs a manager in this process, under load. It is not parallel to other tests, which
// have goroutines of their own.
func TestAManagerThatEndedLeavesNoGoroutine(t *testing.T) {
	w := newWorld(t)
	webhook := w.webhook("manager")
	w.install(webhook)
	w.do(w.admin.List(t.Context(), &v1.TagList{})) // the test's own connection
	before := goleak.IgnoreCurrent()
	run := func(ctx context.Context, args []string) error {
		command := app.NewCommand(func(string) (string, bool) { return "", false }, io.Discard)
		command.SetArgs(args)
		return command.ExecuteContext(ctx)
	}
	manager, err := cluster.RunManager(t.Context(), run, w.options("manager", webhook, "--leader-elect=true"))
	w.do(err)
	tags := w.tags(10)
	w.deployments(tags...)
	w.move(tags...)
	w.eventually("the moves", func(ctx context.Context) error { return w.standAt(ctx, tags) }) // otherwise one of them could wait for the stalled registry
	w.stall("stalled")

	reviewing, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range clients {
		load.Go(func() {
			r := newReviewer(webhook)
			for reviewing.Err() == nil {
				if err := r.pins(reviewing, tags[0], ""); err != nil {
					break // it has stopped
				}
			}
			r.client.CloseIdleConnections()
		})
	}
	told := time.Now()
	err = manager.Stop()
	took := time.Since(told)
	cancel()
	load.Wait()
	t.Logf("the manager ended %.1f s after it was told to; the promise is %s", took.Seconds(), stops)
	if err != nil || took > 3*stops {
		t.Errorf("it ended after %s, with %v", took, err)
	}
	w.leaseIsFree()
	http.DefaultClient.CloseIdleConnections()  // the probes'
	w.do(w.cluster.StopAPIServer(t.Context())) // so that idle connections close, which client-go keeps for a minute and a half
	w.registry.slowDown(nil)                   // a shared request to a registry continues for half a minute
	w.eventually("no goroutine", func(context.Context) error {
		w.registry.hangUp() // idle connections are kept for a while
		return goleak.Find(before, filtered)
	})
}

// stall starts the import of one more generation, for which the registry never responds.
func (w *world) stall(tag string) {
	w.t.Helper()
	stalled := make(chan struct{})
	w.registry.slowDown(func(r *http.Request) {
		select {
		case <-stalled:
		case <-r.Context().Done():
		}
	})
	w.t.Cleanup(func() { close(stalled) })
	w.push(tag)
	before := w.registry.requests(tag)
	if before > 0 {
		w.request(tag)
	} else {
		created := newTag(tag)
		created.Spec.From = w.source(tag)
		w.do(w.admin.Create(w.t.Context(), created))
	}
	w.eventually("an import under way", func(context.Context) error {
		if w.registry.requests(tag) == before {
			return errors.New("the registry was not asked")
		}
		return nil
	})
}

// unseen creates a Tag that the manager's watch does not receive, so that admission has to read it.
func (w *world) unseen(proxy *proxy) string {
	w.t.Helper()
	const name = "unseen"
	proxy.delay(time.Hour)
	w.push(name)
	tag := newTag(name)
	tag.Spec.From = w.source(name)
	w.do(w.admin.Create(w.t.Context(), tag))
	tag.RecordImport(v1.Reference{From: tag.Spec.From, ImageReference: w.images[name][0], ImportedAt: metav1.Now(), Trigger: v1.TriggerUser})
	w.do(w.admin.Status().Update(w.t.Context(), tag))
	return name
}

// underReview sends many admission requests at once. The returned function waits for the responses.
func (w *world) underReview(webhook *cluster.Webhook, tag string) (wait func() []error) {
	answers := make(chan error)
	for range clients {
		r := newReviewer(webhook)
		w.t.Cleanup(r.client.CloseIdleConnections)
		for range reviews {
			go func() { answers <- r.pins(w.t.Context(), tag, w.images[tag][0]) }()
		}
	}
	return func() (errs []error) {
		for range clients * reviews {
			if err := <-answers; err != nil {
				errs = append(errs, err)
			}
		}
		return errs
	}
}

// leaseIsFree fails the test unless the leader has released its lease.
func (w *world) leaseIsFree() {
	w.t.Helper()
	var lease coordinationv1.Lease
	w.do(w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: cluster.Namespace, Name: "tagger.images.io"}, &lease))
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" {
		w.t.Errorf("%s holds the lease still", *holder)
	}
}

// logged returns an error unless the text is in a log.
func logged(path, text string) error {
	content, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(content), text) {
		err = fmt.Errorf("%q is not in it", text)
	}
	return err
}
