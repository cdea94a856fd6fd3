package admission

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	v1 "github.com/images-io/tagger/api/v1"
)

var generationPath = fieldpath.MakePathOrDie("spec", "generation")

// ownsGeneration says whether the entry owns spec.generation.
func ownsGeneration(entry *metav1.ManagedFieldsEntry) bool {
	fields, err := fieldsOf(entry)
	return err == nil && fields.Has(generationPath)
}

// releaseGeneration takes spec.generation from every manager that wrote it by an update. An edit moves the Tag once;
// had it to own the field, the next server-side apply of the manifest would fail with a conflict.
// It says whether anything changed.
func releaseGeneration(tag *v1.Tag) bool {
	before := len(tag.ManagedFields)
	changed := false
	tag.ManagedFields = slices.DeleteFunc(tag.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationUpdate && ownsNothingElse(&entry)
	})
	for i := range tag.ManagedFields {
		if entry := &tag.ManagedFields[i]; entry.Operation == metav1.ManagedFieldsOperationUpdate {
			changed = releaseFrom(entry) || changed
		}
	}
	return changed || len(tag.ManagedFields) != before
}

// ownsNothingElse says whether spec.generation is all that the entry owns.
func ownsNothingElse(entry *metav1.ManagedFieldsEntry) bool {
	fields, err := fieldsOf(entry)
	return err == nil && fields.Equals(fieldpath.NewSet(generationPath))
}

func releaseFrom(entry *metav1.ManagedFieldsEntry) bool {
	fields, err := fieldsOf(entry)
	if err != nil || !fields.Has(generationPath) {
		return false
	}
	rest, err := fields.Difference(fieldpath.NewSet(generationPath)).ToJSON()
	if err != nil {
		return false
	}
	entry.FieldsV1 = metav1.NewFieldsV1(string(rest))
	return true
}

func fieldsOf(entry *metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	fields := &fieldpath.Set{}
	if entry.FieldsV1 == nil {
		return fields, nil
	}
	return fields, fields.FromJSON(entry.FieldsV1.GetRawReader())
}
