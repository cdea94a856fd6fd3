package admission

import (
	"slices"

	"gomodules.xyz/jsonpatch/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/images-io/tagger/internal/pin"
)

const (
	// maxOwnedFields bounds the FieldsV1 of the updates that a review parses together, in bytes. The library takes quadratic time
	// for elements in descending order, which no API server sends: 12 ms for 128 KiB, 900 ms for 1 MiB.
	maxOwnedFields = 128 << 10
	// maxUpdates bounds the number of these updates. An API server keeps ten.
	maxUpdates = 16
)

// generationField is the set of spec.generation of a Tag.
var generationField = fieldpath.NewSet(fieldpath.MakePathOrDie("spec", "generation"))

// ownsGeneration reports whether the entry owns spec.generation. It is false for an entry above maxOwnedFields.
func ownsGeneration(entry *metav1.ManagedFieldsEntry) bool {
	if entry.FieldsV1.Size() > maxOwnedFields {
		return false
	}
	owned, err := parseFields(entry.FieldsV1)
	return err == nil && !owned.Intersection(generationField).Empty()
}

// parseFields returns the set that FieldsV1 serializes.
func parseFields(fields *metav1.FieldsV1) (*fieldpath.Set, error) {
	set := &fieldpath.Set{}
	if fields == nil {
		return set, nil
	}
	return set, set.FromJSON(fields.GetRawReader())
}

// imageFields returns the fields that Tagger writes of a workload: pinned images, and the pull policies that it changed. The set is empty
// where no entry of managedFields can own them, or releaseOperations would not read the entries.
func imageFields(w pin.Workload) *fieldpath.Set {
	written := &fieldpath.Set{}
	if !areReleasable(w.Meta.ManagedFields) {
		return written
	}
	pod := pathOf(w.PodFields...)
	for _, pinned := range w.PinnedFields() {
		list, name := pinned.Field.Element()
		element := append(slices.Clone(pod), fieldpath.MakePathOrDie(list, fieldpath.KeyByFields("name", name))...)
		written.Insert(append(element, pathOf(pinned.Field.ImagePath()...)...))
		if pinned.Entry.PullPolicy != "" {
			written.Insert(append(slices.Clone(element), pathOf(pinned.Field.PullPolicyPath()...)...))
		}
	}
	return written
}

// pathOf returns the path of nested fields.
func pathOf(names ...string) fieldpath.Path {
	path := make(fieldpath.Path, len(names))
	for i := range names {
		path[i].FieldName = &names[i]
	}
	return path
}

// areReleasable reports whether there are entries of updates, and these are within the bounds.
func areReleasable(entries []metav1.ManagedFieldsEntry) bool {
	updates, size := 0, 0
	for _, entry := range entries {
		if isUpdate(entry) {
			updates++
			size += entry.FieldsV1.Size()
		}
	}
	return updates > 0 && updates <= maxUpdates && size <= maxOwnedFields
}

// releaseOperations returns the patch that removes the fields from every entry of an update. Admission writes these fields, so an update
// does not determine their stored values. If it still owned them, the next server-side apply of the unchanged manifest would fail with a
// conflict. Appliers keep the fields. Entries that cannot be parsed, or that are above the bounds, stay as they are.
func releaseOperations(entries []metav1.ManagedFieldsEntry, fields *fieldpath.Set) []jsonpatch.Operation {
	if fields.Empty() || !areReleasable(entries) {
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

// isUpdate reports whether an entry is of a manager that updated the object itself.
func isUpdate(entry metav1.ManagedFieldsEntry) bool {
	return entry.Operation == metav1.ManagedFieldsOperationUpdate && entry.Subresource == ""
}

// release removes the fields from the entry of an update. It reports whether the entry had any of them, and whether it has others.
func release(entry *metav1.ManagedFieldsEntry, fields *fieldpath.Set) (had, left bool, err error) {
	if !isUpdate(*entry) {
		return false, true, nil
	}
	owned, err := parseFields(entry.FieldsV1)
	if err != nil || owned.Intersection(fields).Empty() {
		return false, true, err
	}
	rest := owned.Difference(fields)
	text, err := rest.ToJSON()
	if err != nil {
		return false, true, err
	}
	entry.FieldsV1 = metav1.NewFieldsV1(string(text))
	return true, !rest.Empty(), nil
}
