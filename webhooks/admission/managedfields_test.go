package admission

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
)

func entry(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestRelease_UpdatesAndNotAppliers(t *testing.T) {
	const generation, both = `{"f:spec":{"f:generation":{}}}`, `{"f:spec":{"f:from":{},"f:generation":{}}}`
	operations := releaseOperations([]metav1.ManagedFieldsEntry{
		entry("flux", metav1.ManagedFieldsOperationApply, both),
		entry("kubectl-create", metav1.ManagedFieldsOperationUpdate, both),
		entry("kubectl-patch", metav1.ManagedFieldsOperationUpdate, generation),
	}, generationField)
	if len(operations) != 1 {
		t.Fatalf("got %v", operations)
	}
	left := operations[0].Value.([]metav1.ManagedFieldsEntry)
	if len(left) != 2 {
		t.Fatalf("%d entries are left, want the applier's and kubectl-create's: %v", len(left), left)
	}
	if !ownsGeneration(&left[0]) || ownsGeneration(&left[1]) || left[1].FieldsV1.GetRawString() != `{"f:spec":{"f:from":{}}}` {
		t.Errorf("left: %v", left)
	}
}

func TestRelease_NothingToChange(t *testing.T) {
	const update, generation = metav1.ManagedFieldsOperationUpdate, `{"f:spec":{"f:generation":{}}}`
	large := `{"f:metadata":{"f:labels":{"f:` + strings.Repeat("a", maxOwnedFields) + `":{}}},"f:spec":{"f:generation":{}}}`
	for name, entries := range map[string][]metav1.ManagedFieldsEntry{
		"no entry owns the field":           {entry("kubectl-create", update, `{"f:spec":{"f:from":{}}}`)},
		"an entry without fields":           {{Manager: "kubectl-create", Operation: update}},
		"fields above the bound":            {entry("kubectl-create", update, large)},
		"more updates than the bound":       slices.Repeat([]metav1.ManagedFieldsEntry{entry("kubectl-create", update, generation)}, maxUpdates+1),
		"an update of a subresource":        {{Manager: "x", Operation: update, Subresource: "status", FieldsV1: metav1.NewFieldsV1(generation)}},
		"fields that are not JSON":          {entry("x", update, `{`)},
		"fields that are not closed":        {entry("x", update, `{"f:spec":{"f:generation":{}}`)},
		"fields that are not an object":     {entry("x", update, `[]`)},
		"an element that is not an object":  {entry("x", update, `{"f:spec":[]}`)},
		"an element without a value":        {entry("x", update, `{"f:spec":{"f:generation":}}`)},
		"a text where fields are expected":  {entry("x", update, `"f:spec"`)},
		"one of two that cannot be decoded": {entry("kubectl-create", update, generation), entry("x", update, `{`)},
	} {
		t.Run(name, func(t *testing.T) {
			if operations := releaseOperations(entries, generationField); operations != nil {
				t.Errorf("got %v", operations)
			}
		})
	}
}

func TestRelease_FieldsOfImages(t *testing.T) {
	const kept = `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"proxy\"}":{"f:image":{}}}}}}}`
	for name, row := range map[string]struct{ owned, want string }{
		"all of a container":     {`{".":{},"f:env":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{}}`, `{".":{},"f:env":{},"f:name":{}}`},
		"the image alone":        {`{"f:image":{}}`, ""},
		"the container alone":    {`{".":{}}`, `{".":{}}`},
		"the pull policy alone":  {`{".":{},"f:imagePullPolicy":{}}`, `{}`},
		"neither of the two":     {`{".":{},"f:args":{}}`, `{".":{},"f:args":{}}`},
		"space between elements": {"{ \"f:image\" : {},\n\"f:name\":{ } }", `{"f:name":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			workload, _ := pin.Of(&appsv1.Deployment{})
			workload.Pod.Containers = []corev1.Container{{Name: "app", Image: "quay.io/x@sha256:1"}, {Name: "proxy", Image: "proxy"}}
			workload.Meta.Annotations = map[string]string{v1.AnnotationPinned: pin.Record{"app": {Tag: "x", Image: "quay.io/x@sha256:1", PullPolicy: "Always"}}.Format()}
			inContainer := func(fields string) string {
				return `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":` + fields + `}}}}}`
			}
			workload.Meta.ManagedFields = []metav1.ManagedFieldsEntry{
				entry("kubectl-create", metav1.ManagedFieldsOperationUpdate, inContainer(row.owned)),
				entry("helm", metav1.ManagedFieldsOperationUpdate, kept),
			}
			want := []string{kept}
			if row.want != "" {
				want = []string{inContainer(row.want), kept}
			}
			left := workload.Meta.ManagedFields
			if operations := releaseOperations(left, imageFields(workload)); len(operations) > 0 {
				left = operations[0].Value.([]metav1.ManagedFieldsEntry)
			}
			var got []string
			for _, entry := range left {
				got = append(got, entry.FieldsV1.GetRawString())
			}
			if !slices.Equal(got, want) {
				t.Errorf("left is %q, want %q", got, want)
			}
		})
	}
}
