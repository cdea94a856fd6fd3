package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/harness"
)

// patience bounds every wait.
const patience = 30 * time.Second

// writes records the requests that arrive. It refuses them while err is set.
type writes struct {
	mu      sync.Mutex
	err     error
	tried   int
	arrived chan types.NamespacedName
	values  map[string]bool
}

func (w *writes) patch(_ context.Context, _ client.WithWatch, object client.Object, patch client.Patch, _ ...client.PatchOption) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tried++
	if w.err != nil {
		return w.err
	}
	content, err := patch.Data(object)
	if err != nil {
		return err
	}
	var decoded metav1.PartialObjectMetadata
	if err := json.Unmarshal(content, &decoded); err != nil {
		return err
	}
	w.values[decoded.Annotations[v1.AnnotationRequestedCheck]] = true
	w.arrived <- client.ObjectKeyFromObject(object)
	return nil
}

func (w *writes) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func newRequester(t *testing.T, tags ...client.Object) (*Requester, *writes) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &writes{arrived: make(chan types.NamespacedName, 1000), values: map[string]bool{}}
	cache := fake.NewClientBuilder().WithScheme(scheme).WithObjects(tags...).WithIndex(&v1.Tag{}, imageIndex, keysOf).Build()
	r := NewRequester(cache, interceptor.NewClient(cache, interceptor.Funcs{Patch: w.patch}), clock.RealClock{})
	return r, w
}

// run starts the requester, and stops it at the end of the test.
func run(t *testing.T, r *Requester) (stop func()) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(context.WithoutCancel(t.Context()))
	}()
	return sync.OnceFunc(func() {
		r.Stop()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("it does not end")
		}
	})
}

func tag(namespace, name, from string) *v1.Tag {
	return &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1.TagSpec{From: from}}
}

// arrives waits for a request.
func (w *writes) arrives(t *testing.T) types.NamespacedName {
	t.Helper()
	select {
	case name := <-w.arrived:
		return name
	case <-time.After(patience):
		t.Fatal("no request arrives")
		return types.NamespacedName{}
	}
}

func TestNotify_TagsOfAllNamespaces(t *testing.T) {
	r, w := newRequester(t,
		tag("a", "myapp", "quay.io/company/myapp"), tag("b", "myapp", "quay.io:443/company/myapp:latest"), tag("b", "older", "quay.io/company/myapp:1"),
		tag("b", "digest", "quay.io/company/myapp@sha256:"+strings.Repeat("0", 64)), tag("b", "unqualified", "company/myapp"), tag("b", "invalid", "::"))
	defer run(t, r)()
	for key, want := range map[string]int{"quay.io/company/myapp:latest": 2, "quay.io/company/myapp": 3, "quay.io/company/myapp:2": 0, "docker.io/company/myapp:latest": 0} {
		if got, err := r.Notify([]string{key}); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", key, got, err, want)
		}
	}
	found := map[string]bool{}
	for len(found) < 3 {
		found[w.arrives(t).String()] = true
	}
	if !found["a/myapp"] || !found["b/myapp"] || !found["b/older"] {
		t.Errorf("got %v", found)
	}
	for value := range w.values {
		if len(strings.TrimPrefix(value, v1.PushRequestPrefix)) < 26 { // 128 bits in base32
			t.Errorf("the request is %q", value)
		}
	}
}

// TestNotify_HintsOfASecondAreOneWrite: the first is written at once, and all others together.
func TestNotify_HintsOfASecondAreOneWrite(t *testing.T) {
	r, w := newRequester(t, tag("a", "myapp", "quay.io/company/myapp"))
	stop := run(t, r)
	notify := func() {
		if _, err := r.Notify([]string{"quay.io/company/myapp:latest"}); err != nil {
			t.Fatal(err)
		}
	}
	notify()
	w.arrives(t)
	for range 1000 {
		notify()
	}
	stop()
	if len(w.values) > 3 { // the machine may take some seconds for the loop
		t.Errorf("%d writes", len(w.values))
	}
	if len(w.values) < 2 {
		t.Error("the hints after the first are lost")
	}
}

func TestNotify_RetriesAndStops(t *testing.T) {
	r, w := newRequester(t, tag("a", "myapp", "quay.io/company/myapp"))
	stop := run(t, r)
	w.fail(errors.New("the API server is down"))
	if _, err := r.Notify([]string{"quay.io/company/myapp"}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "a second attempt", patience, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.tried < 2 {
			return fmt.Errorf("%d attempts", w.tried)
		}
		return nil
	})
	w.fail(nil)
	stop()
	if len(w.values) == 0 {
		t.Error("a graceful stop loses the hint")
	}
}
