package admission

import (
	"slices"

	"gomodules.xyz/jsonpatch/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/images-io/tagger/internal/pin"
)

var generationPath = fieldpath.MakePathOrDie("spec", "generation")

// ownsGeneration says whether the entry owns spec.generation.
func ownsGeneration(entry *metav1.ManagedFieldsEntry) bool {
	fields, err := fieldsOf(*entry)
	return err == nil && fields.Has(generationPath)
}

// imageFields are what Tagger writes of a workload: the images that it pinned, and the pull policies that it changed.
func imageFields(w pin.Workload) *fieldpath.Set {
	owned := fieldpath.NewSet()
	for _, pinned := range w.Pinned() {
		path := append(slices.Clone(w.PodFields), pinned.List, fieldpath.KeyByFields("name", pinned.Container))
		owned.Insert(fieldpath.MakePathOrDie(append(path, "image")...))
		if pinned.PullPolicy {
			owned.Insert(fieldpath.MakePathOrDie(append(path, "imagePullPolicy")...))
		}
	}
	return owned
}

// releaseOperations take fields from every manager that wrote them by an update. Admission writes these fields, so what an
// update left there is not what is stored: had it to own them, the next server-side apply of the unchanged manifest would
// fail with a conflict. Appliers keep what they own.
func releaseOperations(entries []metav1.ManagedFieldsEntry, fields *fieldpath.Set) []jsonpatch.Operation {
	if fields.Empty() {
		return nil
	}
	var released []metav1.ManagedFieldsEntry
	changed := false
	for _, entry := range entries {
		had, left, err := release(&entry, fields)
		if err != nil {
			return nil
		}
		changed = changed || had
		if left {
			released = append(released, entry)
		}
	}
	if !changed {
		return nil
	}
	return []jsonpatch.Operation{jsonpatch.NewOperation("replace", "/metadata/managedFields", released)}
}

// release takes the fields from an entry, and says whether it had any of them, and whether anything is left of it.
func release(entry *metav1.ManagedFieldsEntry, fields *fieldpath.Set) (had, left bool, err error) {
	if entry.Operation != metav1.ManagedFieldsOperationUpdate || entry.Subresource != "" {
		return false, true, nil
	}
	owned, err := fieldsOf(*entry)
	if err != nil || owned.Intersection(fields).Empty() {
		return false, true, err
	}
	owned = owned.Difference(fields)
	rest, err := owned.ToJSON()
	entry.FieldsV1 = metav1.NewFieldsV1(string(rest))
	return true, !owned.Empty(), err
}

func fieldsOf(entry metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	fields := &fieldpath.Set{}
	if entry.FieldsV1 == nil {
		return fields, nil
	}
	return fields, fields.FromJSON(entry.FieldsV1.GetRawReader())
}
