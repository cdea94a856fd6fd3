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
	return importer.Result{State: i.state, Took: 2 * time.Second}, i.err
}

func (i *imports) Import(*v1.Tag, importer.Options) (importer.Result, error) { return i.result() }
func (i *imports) Check(*v1.Tag, importer.Options) (importer.Result, error)  { return i.result() }
func (i *imports) Verify(*v1.Tag, *v1.Reference) (importer.Result, error)    { return i.result() }

type unauthorized struct{ error }

func (unauthorized) Reason() v1.Reason { return v1.ReasonUnauthorized }

func TestImportsAreCountedAndTimed(t *testing.T) {
	next := &imports{}
	imports := metrics.NewImports(next)
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

func TestTags_CollectedByTheLeader(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	imported := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "myapp"}}
	imported.RecordImport(v1.Reference{Generation: 4})
	waiting := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "waiting"}}
	registry := prometheus.NewPedanticRegistry()
	tags := &metrics.Tags{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(imported, waiting).Build(), Registerer: registry}

	want := `# HELP tagger_tag_generation The generation that workloads use. Labeled by namespace and tag.
# TYPE tagger_tag_generation gauge
tagger_tag_generation{namespace="dev",tag="myapp"} 4
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
