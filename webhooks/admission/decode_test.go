package admission

import (
	"strings"
	"testing"

	v1 "github.com/images-io/tagger/api/v1"
)

// TestDecode_BoundedMemory: clients other than API servers may reach the webhook's port.
func TestDecode_BoundedMemory(t *testing.T) {
	many := func(element string) string { return strings.TrimSuffix(strings.Repeat(element+",", 1<<16), ",") }
	for name, raw := range map[string]string{
		"containers without a field":      `{"spec":{"template":{"spec":{"containers":[` + many(`{}`) + `]}}}}`,
		"init containers that are null":   `{"spec":{"template":{"spec":{"initContainers":[` + many(`null`) + `]}}}}`,
		"volumes without a field":         `{"spec":{"template":{"spec":{"volumes":[` + many(`{}`) + `]}}}}`,
		"managed fields without a field":  `{"metadata":{"managedFields":[` + many(`{}`) + `]}}`,
		"more containers than are stored": `{"spec":{"template":{"spec":{"containers":[` + many(`{"name":"","resources":{}}`) + `]}}}}`,
		"annotations above 256 KiB":       `{"metadata":{"annotations":{"images.io/requested":"` + strings.Repeat("a", 256<<10) + `"}}}`,
		"no list of containers":           `{"spec":{"template":{"spec":{"containers":{}}}}}`,
		"a list that does not end":        `{"spec":{"template":{"spec":{"containers":[`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := decode("Deployment", []byte(raw)); err == nil {
				t.Error("it is decoded, want an error")
			}
		})
	}
	workload, ok, err := decode("Deployment", []byte(`{"spec":{"template":{"spec":{"volumes":null,"containers":[{"name":"a","resources":{}},{"name":"b","resources":{}}]}}}}`))
	if err != nil || !ok || len(workload.Pod.Containers) != 2 {
		t.Errorf("two containers: %v, %v, %v", workload.Pod, ok, err)
	}
}

func TestDecode_TagOfManyElements(t *testing.T) {
	raw := []byte(`{"status":{"references":[null` + strings.Repeat(",null", 1<<16) + `]}}`)
	if err := decodeObject(raw, &v1.Tag{}); err == nil {
		t.Error("it is decoded, want an error")
	}
}
