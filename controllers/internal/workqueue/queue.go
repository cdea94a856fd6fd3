package workqueue

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// What waits in a controller's queue is served by its priority first, and then in the order in which it came (docs/adr/0007).
const (
	// FreshPriority is that of an object that changed. controller-runtime gives it to every event unless told otherwise.
	FreshPriority = 0
	// RetryPriority is that of Tags that failed, and are tried again.
	RetryPriority = handler.LowPriority / 2
	// RestingPriority is that of what is merely there: at the start, which controller-runtime sees to, and for polls.
	RestingPriority = handler.LowPriority
)

// Queue is a controller's, as handlers get it: a priority queue, unless controller-runtime is configured otherwise.
type Queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// Enqueue puts requests into a controller's queue with a priority.
func Enqueue(q Queue, priority int, requests []ctrl.Request) {
	q.(priorityqueue.PriorityQueue[ctrl.Request]).AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, requests...)
}

// IgnoreInitialList leaves out the objects that exist when the process starts: they cure nothing, and the objects that they might cure
// arrive by themselves.
var IgnoreInitialList = predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList }}

// RequestsFor makes a request of every object in a list.
func RequestsFor(list client.ObjectList) []ctrl.Request {
	var requests []ctrl.Request
	_ = meta.EachListItem(list, func(item runtime.Object) error { // never fails: the function does not, and the list is one
		if object, ok := item.(client.Object); ok {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(object)})
		}
		return nil
	})
	return requests
}
