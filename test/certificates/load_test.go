package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/test/cluster"
)

const (
	admissionsPerSecond = 200
	admissionsTried     = 240 // so that there are as many on average, too
	handshakesPerSecond = 50  // on each replica
	maxAdmissions       = 600 * admissionsPerSecond
	workers             = 16
)

// failures counts failures, and keeps the first one.
type failures struct {
	mu    sync.Mutex
	count int
	first error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; f.count == 1 {
		f.first = fmt.Errorf("at %s: %w", time.Now().Format(time.StampMilli), err)
	}
}

func (f *failures) all() (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count, f.first
}

// load is an action that repeats until it is stopped.
type load struct {
	failures
	done    atomic.Int64
	began   time.Time
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newLoad(t *testing.T) (*load, context.Context) {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{began: time.Now(), cancel: cancel}
	t.Cleanup(l.stop)
	return l, ctx
}

func (l *load) stop() {
	l.cancel()
	l.running.Wait()
}

func (l *load) rate() float64 { return float64(l.done.Load()) / time.Since(l.began).Seconds() }

// repeat repeats an action at the rate of the limiter, at most so many times concurrently.
func (l *load) repeat(ctx context.Context, limiter *rate.Limiter, most int64, do func(i int64) error) {
	for limiter.Wait(ctx) == nil {
		i := l.done.Add(1)
		if i > most {
			return
		}
		if err := do(i); err != nil {
			l.add(err)
		}
	}
}

// startLoad creates Deployments, all but one a second as a server-side dry run. Each has to be pinned.
func startLoad(t *testing.T, want string) *load {
	t.Helper()
	l, ctx := newLoad(t)
	limiter := rate.NewLimiter(admissionsTried, admissionsTried) // requests missed in a pause are made afterwards
	for range workers {
		l.running.Go(func() {
			l.repeat(ctx, limiter, maxAdmissions, func(i int64) error {
				var options []client.CreateOption
				if i%admissionsPerSecond != 0 {
					options = append(options, client.DryRunAll)
				}
				// Started requests complete, so that the end of the test is not a failure.
				return admitted(context.WithoutCancel(ctx), "load-"+strconv.FormatInt(i, 10), want, options...)
			})
		})
	}
	return l
}

// startCalls opens connection after connection to each replica, as an API server does that learns of the caBundle by a watch,
// and late. The real one keeps its connections, and would hide a moment without new ones.
func startCalls(t *testing.T) *load {
	t.Helper()
	l, ctx := newLoad(t)
	bundle := watchBundle(t)
	for _, replica := range world.replicas {
		limiter := rate.NewLimiter(handshakesPerSecond, 1)
		l.running.Go(func() {
			l.repeat(ctx, limiter, maxAdmissions, func(int64) error { return call(replica.address, bundle) })
		})
	}
	return l
}

func call(address string, bundle func() ([]byte, error)) error {
	trusted, err := bundle()
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(trusted) {
		return errors.New("the caBundle is empty")
	}
	connection, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots})
	if err != nil {
		return fmt.Errorf("calling %s: %w", address, err)
	}
	return connection.Close()
}

// lag is the assumed delay of an API server's watch. A replica waits longer (certificates.Policy.Settle).
const lag = 2 * time.Second

// history has the versions of the caBundle of the webhook for workloads, from a watch.
type history struct {
	mu      sync.Mutex
	bundles [][]byte
	seen    []time.Time
}

// record implements the handlers of an informer.
func (h *history) record(object any) {
	configuration, ok := object.(*admissionv1.MutatingWebhookConfiguration)
	if !ok || configuration.Name != cluster.MutatingConfiguration {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bundles, h.seen = append(h.bundles, configuration.Webhooks[0].ClientConfig.CABundle), append(h.seen, time.Now())
}

// bundle returns the version that a client with the delay knows.
func (h *history) bundle() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.seen) - 1; i >= 0; i-- {
		if i == 0 || time.Since(h.seen[i]) > lag {
			return h.bundles[i], nil
		}
	}
	return nil, errors.New("nothing is known yet")
}

// watchBundle returns the caBundle that a client with a delayed watch knows.
func watchBundle(t *testing.T) func() ([]byte, error) {
	t.Helper()
	clientset, err := kubernetes.NewForConfig(world.cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	var known history
	factory := informers.NewSharedInformerFactory(clientset, 0)
	registration, err := factory.Admissionregistration().V1().MutatingWebhookConfigurations().Informer().AddEventHandler(
		cache.ResourceEventHandlerFuncs{AddFunc: known.record, UpdateFunc: func(_, changed any) { known.record(changed) }})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(t.Context().Done())
	if !cache.WaitForCacheSync(t.Context().Done(), registration.HasSynced) {
		t.Fatal("the watch does not begin")
	}
	return known.bundle
}
