package admission

import (
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
	changed := false
	for i := range tag.ManagedFields {
		entry := &tag.ManagedFields[i]
		if entry.Operation != metav1.ManagedFieldsOperationUpdate || entry.FieldsV1 == nil {
			continue
		}
		fields, err := fieldsOf(entry)
		if err != nil || !fields.Has(generationPath) {
			continue
		}
		rest, err := fields.Difference(fieldpath.NewSet(generationPath)).ToJSON()
		if err != nil {
			continue
		}
		entry.FieldsV1 = metav1.NewFieldsV1(string(rest))
		changed = true
	}
	return changed
}

func fieldsOf(entry *metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	fields := &fieldpath.Set{}
	return fields, fields.FromJSON(entry.FieldsV1.GetRawReader())
}
