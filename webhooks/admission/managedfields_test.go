package admission

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func entry(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestReleaseTakesAFieldFromUpdatesAndLeavesItToAppliers(t *testing.T) {
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

func TestReleaseOfWhatNobodyOwnsChangesNothing(t *testing.T) {
	entries := []metav1.ManagedFieldsEntry{
		entry("kubectl-create", metav1.ManagedFieldsOperationUpdate, `{"f:spec":{"f:from":{}}}`),
		{Manager: "without fields", Operation: metav1.ManagedFieldsOperationUpdate},
	}
	if operations := releaseOperations(entries, generationField); operations != nil {
		t.Errorf("got %v", operations)
	}
	broken := []metav1.ManagedFieldsEntry{entry("x", metav1.ManagedFieldsOperationUpdate, `{`)}
	if operations := releaseOperations(broken, generationField); operations != nil {
		t.Errorf("fields that cannot be read make the patch %v", operations)
	}
}
