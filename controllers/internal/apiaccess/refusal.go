package apiaccess

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
)

// refusedRetry is how long a write waits that the API server refused. A change of the object, or of its Tag, does not wait.
const refusedRetry = time.Minute

// refusal returns what the API server says of a write that it refused for its content, such as an admission policy. The same
// write fails again until an object or a policy changes.
func refusal(err error) (message string, refused bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) && !apierrors.IsBadRequest(err) {
		return "", false
	}
	return status.Status().Message, true
}

// Refusals reports refused writes: each message of an object once, as an event and as a line of the log.
type Refusals struct {
	mu   sync.Mutex
	last map[ctrl.Request]uint32 // the checksum of the message
}

// Handle reports a refused write of the object and plans the next try. It returns any other error.
func (r *Refusals) Handle(ctx context.Context, recorder events.EventRecorder, object client.Object, err error) (ctrl.Result, error) {
	message, refused := refusal(err)
	if !refused {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if sum := crc32.ChecksumIEEE([]byte(message)); r.isNew(object, sum) {
		log.FromContext(ctx).Info("the API server refused a change", "refusal", message)
		// The recorder counts events up that differ in the note only, so the action tells the messages apart.
		recorder.Eventf(object, nil, corev1.EventTypeWarning, "MoveRefused", fmt.Sprintf("Move-%08x", sum), "%s", v1.Truncate(message, v1.MaxReasonLength))
	}
	return ctrl.Result{RequeueAfter: refusedRetry}, nil
}

func (r *Refusals) isNew(object client.Object, message uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(object)}
	if last, ok := r.last[key]; ok && last == message {
		return false
	}
	if r.last == nil {
		r.last = map[ctrl.Request]uint32{}
	}
	r.last[key] = message
	return true
}

// Forget drops the last message of an object: its writes succeed, or it is gone.
func (r *Refusals) Forget(key ctrl.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, key)
}
