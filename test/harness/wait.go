package harness

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// interval is the time between two polls.
const interval = 50 * time.Millisecond

// Eventually polls until condition returns nil. After limit it fails the test with the last error from before the limit.
func Eventually(t testing.TB, what string, limit time.Duration, condition func(context.Context) error) {
	t.Helper()
	last := errors.New("never polled")
	err := wait.PollUntilContextTimeout(t.Context(), interval, limit, true, func(ctx context.Context) (bool, error) {
		err := condition(ctx)
		if err == nil || ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: not within %s: %v", what, limit, last)
	}
}
