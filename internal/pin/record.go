package pin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	fastjson "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

// Entry is the record of one image field.
type Entry struct {
	// Tag is the name of the Tag, the field's image before the pinning.
	Tag string `json:"tag"`
	// Image is the reference that replaced the name.
	Image string `json:"image"`
	// PullPolicy is the former imagePullPolicy, empty if pinning did not change it.
	PullPolicy corev1.PullPolicy `json:"pullPolicy,omitempty"`
}

// Record has the entries of a workload's image fields, by the key of the field.
type Record map[string]Entry

// record returns the workload's own record, or nil if it cannot be parsed: only admission writes it.
func (w Workload) record() Record {
	if w.Meta == nil {
		return nil
	}
	record, err := ParseRecord(w.Meta.Annotations[v1.AnnotationPinned])
	if err != nil {
		return nil
	}
	return record
}

// MaxAnnotation bounds an annotation that Tagger reads, in bytes (DESIGN 6, "Bounds"). A tenant may write 256 KiB of them.
const MaxAnnotation = 64 << 10

// ParseRecord parses a record, or the requested annotation. Empty text is an empty record.
func ParseRecord(text string) (Record, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > MaxAnnotation {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(text), MaxAnnotation)
	}
	var record Record
	if err := fastjson.Unmarshal([]byte(text), &record, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, fmt.Errorf("not a JSON object of container names to tag and image: %w", err)
	}
	return record, nil
}

// Format returns the annotation's value. Equal records have equal texts.
func (r Record) Format() string {
	text, err := json.Marshal(r)
	if err != nil {
		return "{}"
	}
	return string(text)
}

// Fitting returns the entries that fit into an annotation, in the order of their keys.
func (r Record) Fitting() Record {
	fitting, size := Record{}, len("{}")
	for _, key := range slices.Sorted(maps.Keys(r)) {
		entry := Record{key: r[key]}
		if size += len(entry.Format()); size > MaxAnnotation { // the braces of each are more than its comma
			break
		}
		fitting[key] = r[key]
	}
	return fitting
}

// setRecord writes the record. If it would be larger than MaxAnnotation, setRecord writes none and returns false.
func (w Workload) setRecord(record Record) bool {
	delete(w.Meta.Annotations, v1.AnnotationPinned)
	if len(record) == 0 {
		return true
	}
	text := record.Format()
	if len(text) > MaxAnnotation {
		return false
	}
	if w.Meta.Annotations == nil {
		w.Meta.Annotations = map[string]string{}
	}
	w.Meta.Annotations[v1.AnnotationPinned] = text
	return true
}

// mayNameTag reports whether an image has the form of a Tag's name.
func mayNameTag(image string) bool { return reference.IsTagName(image) }

// TagNames returns the Tags that the workload uses or would use: those of its record and its bare names. A name may occur
// twice.
func (w Workload) TagNames() []string {
	var names []string
	record := w.record()
	for _, f := range w.ImageFields() {
		if entry, ok := record[f.Key]; ok {
			names = append(names, entry.Tag)
		}
		if mayNameTag(*f.Image) {
			names = append(names, *f.Image)
		}
	}
	return names
}

// Pinned is an image field with its entry in the record.
type Pinned struct {
	Field ImageField
	Entry Entry
}

// PinnedFields returns the image fields with an entry in the record.
func (w Workload) PinnedFields() []Pinned {
	record := w.record()
	pinned := make([]Pinned, 0, len(record))
	for _, f := range w.ImageFields() {
		if entry, ok := record[f.Key]; ok {
			pinned = append(pinned, Pinned{f, entry})
		}
	}
	return pinned
}
