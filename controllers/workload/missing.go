package workload

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/workqueue"
	"github.com/images-io/tagger/internal/pin"
)

// missingTagDelay is how long a workload waits for a Tag that does not exist before an event says so. Helm, Flux and Argo CD
// create Tags after the workloads that use them.
const missingTagDelay = 10 * time.Second

// missingTags remembers since when workloads wait for Tags that do not exist, and which of them were reported.
type missingTags struct {
	mu    sync.Mutex
	waits map[ctrl.Request]missingTagWait
}

type missingTagWait struct {
	tags     string
	since    time.Time
	reported bool
}

// observe returns how long to wait until the missing Tags of a workload are reported, and whether to report them now.
func (m *missingTags) observe(key ctrl.Request, tags []string, now time.Time) (after time.Duration, report bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(tags) == 0 {
		delete(m.waits, key)
		return 0, false
	}
	if m.waits == nil {
		m.waits = map[ctrl.Request]missingTagWait{}
	}
	names := strings.Join(tags, ", ")
	wait := m.waits[key]
	if wait.tags != names {
		wait = missingTagWait{tags: names, since: now}
	}
	if after = wait.since.Add(missingTagDelay).Sub(now); after <= 0 {
		after, report, wait.reported = 0, !wait.reported, true
	}
	m.waits[key] = wait
	return after, report
}

// reportMissingTags emits an event once a workload has waited for a missing Tag for missingTagDelay. It returns when to look
// again, 0 if a change of the workload or the Tag is enough.
func (r *Reconciler) reportMissingTags(ctx context.Context, object client.Object) (time.Duration, error) {
	workload, _ := pin.Of(object)
	tags, err := pin.MissingTags(workload, object.GetNamespace(), r.lookup(ctx, r.Client, object.GetNamespace()))
	if err != nil {
		return 0, err
	}
	after, report := r.missing.observe(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(object)}, tags, r.Clock.Now())
	if report {
		note := fmt.Sprintf("the workload waits for Tags that do not exist in namespace %s: %s", object.GetNamespace(), strings.Join(tags, ", "))
		r.Events.Eventf(object, nil, corev1.EventTypeWarning, "TagMissing", "Pin", "%s", v1.Truncate(note, v1.MaxReasonLength))
	}
	return after, nil
}

// reportDetached emits an event for containers that another image detached from their Tag.
func (r *Reconciler) reportDetached(_ context.Context, e event.UpdateEvent, _ workqueue.Queue) {
	old, _ := pin.Of(e.ObjectOld)
	updated, _ := pin.Of(e.ObjectNew)
	if old.Enabled() && !updated.Enabled() { // it is not reconciled any more
		r.forget(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(e.ObjectNew)})
	}
	var notes []string
	for _, field := range pin.Detached(old, updated) {
		notes = append(notes, fmt.Sprintf("%s no longer follows Tag %s: its image is now %s", field.Field, field.Entry.Tag, *field.Field.Image))
	}
	if len(notes) > 0 {
		r.Events.Eventf(runtime.Object(e.ObjectNew), nil, corev1.EventTypeWarning, "Detached", "Pin", "%s", v1.Truncate(strings.Join(notes, "; "), v1.MaxReasonLength))
	}
}

// forget drops what is remembered of a workload that is gone, or opted out.
func (r *Reconciler) forget(key ctrl.Request) {
	r.refusals.Forget(key)
	r.missing.observe(key, nil, r.Clock.Now())
}
