package throttle

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
)

// TestKeyedSemaphore_BusyIsThrottled: two namespaces read without end, and the registry of a third one is not at fault.
func TestKeyedSemaphore_BusyIsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, q, ep := NewKeyedSemaphore(), New(clock.RealClock{}, 15*time.Second), place(t, "quay.io")
		for _, namespace := range []string{"a", "a", "b", "b"} {
			if _, err := r.Acquire(WithRequest(t.Context(), RequestContext{Namespace: namespace})); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		_, err := r.Acquire(WithRequest(t.Context(), RequestContext{Namespace: "c"}))
		if took := time.Since(began); took != readTimeout {
			t.Errorf("it waits for %s", took)
		}
		var postponed *ThrottledError
		if !errors.As(q.Describe(err, ep, "c"), &postponed) {
			t.Errorf("got %v", q.Describe(err, ep, "c"))
		}
	})
}
