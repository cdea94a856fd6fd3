package workqueue

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
)

// maxRetryDelay bounds how long something waits that failed for a fault of the API server. By default it would be a quarter
// of an hour in the end, and after an outage as long again as the outage was.
const maxRetryDelay = 10 * time.Second

// RateLimiter spaces the tries of what ended with an error. Imports that fail are none: their retries are planned.
func RateLimiter() workqueue.TypedRateLimiter[ctrl.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](5*time.Millisecond, maxRetryDelay)
}

// ReconcileTimeout bounds the work on one Tag, its waiting for a registry included.
const ReconcileTimeout = 2 * time.Minute
