package push

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
)

const (
	// imageIndex is the index of Tags by the keys of their sources (reference.Source.Keys).
	imageIndex = "pushedImage"
	// writers is the number of concurrent writes.
	writers = 8
	// maxWrites bounds the writes of one replica, for each second.
	maxWrites = 100
	// pause is the time after a write in which further hints for the Tag become one write.
	pause = time.Second
	// firstRetry and lastRetry are the shortest and the longest wait after a write that failed.
	firstRetry, lastRetry = 200 * time.Millisecond, 15 * time.Second
	// retryFor is how long writes are retried.
	retryFor = 10 * time.Minute
	// writeTimeout bounds one write.
	writeTimeout = 10 * time.Second
)

// Requester requests checks of Tags. Only a Tag's controller finds out whether the image changed.
type Requester struct {
	// Tags reads the cache, which Index prepares.
	Tags client.Reader
	// Client writes.
	Client client.Client
	Clock  clock.WithDelayedExecution

	queue   workqueue.TypedRateLimitingInterface[types.NamespacedName]
	limiter *rate.Limiter

	mu sync.Mutex
	// failing are the Tags whose write failed, and since when.
	failing map[types.NamespacedName]time.Time
	// paused are the Tags whose write was less than a pause ago. For the queue they are in progress, so it keeps one further
	// request for each, however many arrive.
	paused map[types.NamespacedName]clock.Timer
	// isStopping ends all pauses.
	isStopping bool
}

// NewRequester returns a Requester. It writes once Run is called.
func NewRequester(tags client.Reader, writer client.Client, delays clock.WithDelayedExecution) *Requester {
	retries := workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstRetry, lastRetry)
	return &Requester{
		Tags: tags, Client: writer, Clock: delays,
		queue:   workqueue.NewTypedRateLimitingQueueWithConfig(retries, workqueue.TypedRateLimitingQueueConfig[types.NamespacedName]{Name: "push"}),
		limiter: rate.NewLimiter(maxWrites, maxWrites),
		failing: map[types.NamespacedName]time.Time{},
		paused:  map[types.NamespacedName]clock.Timer{},
	}
}

// Notify requests a check of each Tag whose source has one of the keys, and returns the number of such Tags.
func (r *Requester) Notify(keys []string) (int, error) {
	found := map[types.NamespacedName]bool{}
	for _, key := range keys {
		var tags v1.TagList
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout) //nolint:forbidigo // the request must not end what it began
		err := r.Tags.List(ctx, &tags, client.MatchingFields{imageIndex: key}, client.UnsafeDisableDeepCopy)
		cancel()
		if err != nil {
			return 0, fmt.Errorf("listing the Tags of an image: %w", err)
		}
		for i := range tags.Items {
			found[client.ObjectKeyFromObject(&tags.Items[i])] = true
		}
	}
	for name := range found {
		r.queue.Add(name)
	}
	return len(found), nil
}

// Run writes until Stop is called and the remaining requests are written, or were tried once more.
func (r *Requester) Run(ctx context.Context) {
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			for r.writeNext(ctx) {
			}
		})
	}
	running.Wait()
}

// Stop makes Run write the remaining requests at once, and return.
func (r *Requester) Stop() {
	r.mu.Lock()
	r.isStopping = true
	paused, failing := slices.Collect(maps.Keys(r.paused)), slices.Collect(maps.Keys(r.failing))
	r.mu.Unlock()
	for _, name := range paused {
		r.resume(name)
	}
	for _, name := range failing {
		r.queue.Add(name)
	}
	r.queue.ShutDown()
}

// pause keeps a Tag in progress for a while.
func (r *Requester) pause(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isStopping {
		r.queue.Done(name)
		return
	}
	r.paused[name] = r.Clock.AfterFunc(pause, func() { r.resume(name) })
}

// resume ends the pause of a Tag.
func (r *Requester) resume(name types.NamespacedName) {
	r.mu.Lock()
	timer, isPaused := r.paused[name]
	delete(r.paused, name)
	r.mu.Unlock()
	if isPaused {
		timer.Stop()
		r.queue.Done(name)
	}
}

// writeNext writes the next request.
func (r *Requester) writeNext(ctx context.Context) bool {
	name, isStopped := r.queue.Get()
	if isStopped {
		return false
	}
	err := r.limiter.Wait(ctx)
	if err == nil {
		err = r.write(ctx, name)
	}
	if err != nil {
		r.retry(ctx, name, err)
		r.queue.Done(name)
		return true
	}
	r.succeeded(name)
	r.pause(name)
	return true
}

// write requests a check. A Tag that is gone needs none.
func (r *Requester) write(ctx context.Context, name types.NamespacedName) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{v1.AnnotationRequestedCheck: v1.PushRequestPrefix + rand.Text()},
	}})
	if err != nil {
		return fmt.Errorf("encoding a request: %w", err)
	}
	tag := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	tag.SetGroupVersionKind(v1.GroupVersion.WithKind("Tag"))
	err = r.Client.Patch(ctx, tag, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(v1.FieldManager))
	return client.IgnoreNotFound(err)
}

// retry makes the queue write again later, for a limited time.
func (r *Requester) retry(ctx context.Context, name types.NamespacedName, err error) {
	r.mu.Lock()
	since, isKnown := r.failing[name]
	if !isKnown {
		since = r.Clock.Now()
		r.failing[name] = since
	}
	r.mu.Unlock()
	final := r.Clock.Since(since) > retryFor || apierrors.IsInvalid(err)
	log.FromContext(ctx).Error(err, "requesting a check of a Tag", "namespace", name.Namespace, "tag", name.Name, "retries", !final)
	if final {
		r.succeeded(name)
		return
	}
	r.queue.AddRateLimited(name)
}

// succeeded forgets failures of writes for a Tag.
func (r *Requester) succeeded(name types.NamespacedName) {
	r.queue.Forget(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failing, name)
}
