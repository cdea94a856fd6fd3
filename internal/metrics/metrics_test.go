package metrics_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/metrics"
)

// imports takes two seconds and returns what it is given.
type imports struct {
	state importer.State
	err   error
}

func (i *imports) result() (importer.Result, error) {
	return importer.Result{State: i.state, Took: 2 * time.Second, Digest: "sha256:aa"}, i.err
}

func (i *imports) Import(*v1.Tag, importer.Options) (importer.Result, error) { return i.result() }
func (i *imports) Check(*v1.Tag, importer.Options) (importer.Result, error)  { return i.result() }
func (i *imports) Verify(*v1.Tag, *v1.Reference) (importer.Result, error)    { return i.result() }

type unauthorized struct{ error }

func (unauthorized) Reason() v1.Reason { return v1.ReasonUnauthorized }

func TestImportsAreCountedAndTimed(t *testing.T) {
	next := &imports{}
	imports := metrics.NewImports(next, clocktesting.NewFakePassiveClock(time.Unix(1000, 0)))
	tag := &v1.Tag{Spec: v1.TagSpec{Cache: true}}
	call := func(what func(*v1.Tag, importer.Options) (importer.Result, error), state importer.State, result error) {
		next.state, next.err = state, result
		if _, err := what(tag, importer.Options{}); !errors.Is(err, result) {
			t.Errorf("got %v, want %v", err, result)
		}
	}
	call(imports.Import, importer.Done, nil)
	call(imports.Check, importer.Done, nil)
	call(imports.Import, importer.Done, unauthorized{errors.New("no")})
	call(imports.Check, importer.Done, unauthorized{errors.New("no")})
	call(imports.Import, importer.Done, errors.New("a fault of the API server"))
	call(imports.Import, importer.InProgress, nil)
	call(imports.Import, importer.Deferred, nil)
	if result, err := imports.Verify(tag, nil); result.Took == 0 || err != nil {
		t.Error("what is measured is not asked")
	}

	want := `# HELP tagger_import_success_total Imports that found an image.
# TYPE tagger_import_success_total counter
tagger_import_success_total 1
`
	if err := testutil.CollectAndCompare(imports, strings.NewReader(want), "tagger_import_success_total"); err != nil {
		t.Error(err)
	}
	text, err := testutil.CollectAndFormat(imports, expfmt.TypeTextPlain, "tagger_import_failures_total", "tagger_import_duration_seconds")
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range []string{
		`tagger_import_failures_total{reason="Unauthorized"} 2`, `tagger_import_failures_total{reason="NotFound"} 0`,
		`tagger_import_duration_seconds_sum{cached="true"} 6`, `tagger_import_duration_seconds_count{cached="true"} 3`,
	} {
		if !strings.Contains(string(text), series) {
			t.Errorf("%s is not in:\n%s", series, text)
		}
	}
}

func TestPolls_Results(t *testing.T) {
	next := &imports{}
	imports := metrics.NewImports(next, clocktesting.NewFakePassiveClock(time.Unix(1000, 0)))
	tag := &v1.Tag{}
	tag.RecordImport(v1.Reference{ImageReference: "quay.io/a/b@sha256:aa"})
	poll := func(tag *v1.Tag, state importer.State, err error, poll bool) {
		next.state, next.err = state, err
		_, _ = imports.Check(tag, importer.Options{Poll: poll})
	}
	poll(tag, importer.Done, nil, true)
	poll(&v1.Tag{}, importer.Done, nil, true)
	poll(&v1.Tag{}, importer.Done, nil, true)
	poll(tag, importer.Deferred, nil, true)
	poll(tag, importer.InProgress, nil, true)
	poll(tag, importer.Done, unauthorized{errors.New("no")}, true)
	poll(tag, importer.Done, nil, false)
	want := `# HELP tagger_polls_total Checks that spec.interval caused. Labeled by result.
# TYPE tagger_polls_total counter
tagger_polls_total{result="changed"} 2
tagger_polls_total{result="deferred"} 1
tagger_polls_total{result="failed"} 1
tagger_polls_total{result="unchanged"} 1
`
	if err := testutil.CollectAndCompare(imports, strings.NewReader(want), "tagger_polls_total"); err != nil {
		t.Error(err)
	}
}

func TestPushes_SeriesFromTheStart(t *testing.T) {
	pushes := metrics.NewPushes([]string{"docker", "quay"}, []string{"accepted", "malformed"})
	pushes.Observe("quay", "accepted")
	want := `# HELP tagger_push_requests_total Requests of senders of push notifications. Labeled by sender and outcome.
# TYPE tagger_push_requests_total counter
tagger_push_requests_total{outcome="accepted",sender="docker"} 0
tagger_push_requests_total{outcome="accepted",sender="quay"} 1
tagger_push_requests_total{outcome="malformed",sender="docker"} 0
tagger_push_requests_total{outcome="malformed",sender="quay"} 0
`
	if err := testutil.CollectAndCompare(pushes, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestTags_CollectedByTheLeader(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	imported := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "myapp"}}
	imported.RecordImport(v1.Reference{Generation: 4})
	waiting := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "waiting"}}
	registry := prometheus.NewPedanticRegistry()
	clock := clocktesting.NewFakePassiveClock(time.Unix(1000, 0))
	imports := metrics.NewImports(&imports{}, clock)
	gone := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "gone"}}
	for _, checked := range []*v1.Tag{imported, gone} {
		if _, err := imports.Check(checked, importer.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	tags := &metrics.Tags{Imports: imports, Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(imported, waiting).Build(), Registerer: registry}

	want := `# HELP tagger_tag_generation The generation that workloads use. Labeled by namespace and tag.
# TYPE tagger_tag_generation gauge
tagger_tag_generation{namespace="dev",tag="myapp"} 4
# HELP tagger_tag_last_check_timestamp_seconds When a registry last responded for the Tag, in seconds since 1970; missing before the first response since the start. Labeled by namespace and tag.
# TYPE tagger_tag_last_check_timestamp_seconds gauge
tagger_tag_last_check_timestamp_seconds{namespace="dev",tag="myapp"} 1000
# HELP tagger_tag_references How many generations are kept. Labeled by namespace and tag.
# TYPE tagger_tag_references gauge
tagger_tag_references{namespace="dev",tag="myapp"} 1
tagger_tag_references{namespace="dev",tag="waiting"} 0
`
	if err := testutil.CollectAndCompare(tags, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tags.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if series, err := registry.Gather(); err != nil || len(series) != 0 {
		t.Errorf("series of a manager that does not lead any more: %v, %v", series, err)
	}
}
