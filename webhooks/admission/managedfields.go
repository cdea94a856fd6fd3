package admission

import (
	"slices"

	"gomodules.xyz/jsonpatch/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/images-io/tagger/internal/pin"
)

// generationField is the field that says where a Tag stands.
var generationField = fieldAt("f:spec", "f:generation")

// ownsGeneration says whether the entry owns spec.generation.
func ownsGeneration(entry *metav1.ManagedFieldsEntry) bool {
	_, owns, err := without(entry.FieldsV1, generationField)
	return err == nil && owns
}

// imageFields are what Tagger writes of a workload: the images that it pinned, and the pull policies that it changed. There are none where
// no manager updated the workload, since it has none to release then.
func imageFields(w pin.Workload) *fieldTree {
	written := &fieldTree{}
	if !slices.ContainsFunc(w.Meta.ManagedFields, isUpdate) {
		return written
	}
	fields := w.PinnedFields()
	if len(fields) == 0 {
		return written
	}
	pod := written.at(fieldKeys(w.PodFields)...)
	made := map[elementKind]*fieldTree{}
	for _, pinned := range fields {
		list, name := pinned.Field.Element()
		kind := elementKind{list, pinned.Entry.PullPolicy != ""}
		if made[kind] == nil {
			made[kind] = kind.fields(pinned.Field)
		}
		pod.at("f:"+list).add(elementKey(name), made[kind])
	}
	return written
}

// elementKind is what Tagger wrote of an element of a list: the image, and perhaps the pull policy. Elements of one kind share a tree.
type elementKind struct {
	list       string
	pullPolicy bool
}

func (k elementKind) fields(f pin.ImageField) *fieldTree {
	tree := fieldAt(fieldKeys(f.ImagePath())...)
	if k.pullPolicy {
		tree.at(fieldKeys(f.PullPolicyPath())...)
	}
	return tree
}

// fieldKeys returns the keys of FieldsV1 for names of fields.
func fieldKeys(names []string) []string {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = "f:" + name
	}
	return keys
}

// releaseOperations take fields from every manager that wrote them by an update. Admission writes these fields, so what an
// update left there is not what is stored: had it to own them, the next server-side apply of the unchanged manifest would
// fail with a conflict. Appliers keep what they own.
func releaseOperations(entries []metav1.ManagedFieldsEntry, fields *fieldTree) []jsonpatch.Operation {
	if fields.isEmpty() {
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

// release takes the fields from an entry, and says whether it had any of them, and whether anything is left of it.
func release(entry *metav1.ManagedFieldsEntry, fields *fieldTree) (had, left bool, err error) {
	if !isUpdate(*entry) {
		return false, true, nil
	}
	rest, had, err := without(entry.FieldsV1, fields)
	if err != nil || !had {
		return false, true, err
	}
	entry.FieldsV1 = metav1.NewFieldsV1(rest)
	return true, rest != noFields, nil
}
