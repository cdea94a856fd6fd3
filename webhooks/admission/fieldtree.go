package admission

import (
	"errors"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fieldTree is a set of fields by the keys of FieldsV1, which nests them as the object does (structured-merge-diff,
// "fieldpath"): f:<name> for a field, k:<key> for an element of a list. What has nothing below it is in the set.
type fieldTree struct {
	below map[string]*fieldTree
}

// fieldAt is the set of one field.
func fieldAt(path ...string) *fieldTree {
	tree := &fieldTree{}
	tree.at(path...)
	return tree
}

// at is the tree below a path, which is added where it is not there yet.
func (t *fieldTree) at(path ...string) *fieldTree {
	for _, key := range path {
		if t.below == nil {
			t.below = map[string]*fieldTree{}
		}
		if t.below[key] == nil {
			t.below[key] = &fieldTree{}
		}
		t = t.below[key]
	}
	return t
}

// add puts a tree below a key.
func (t *fieldTree) add(key string, tree *fieldTree) {
	if t.below == nil {
		t.below = map[string]*fieldTree{}
	}
	t.below[key] = tree
}

// isEmpty says that there is nothing below.
func (t *fieldTree) isEmpty() bool { return len(t.below) == 0 }

// elementKey is the element of that name in a list whose merge key is the name.
func elementKey(name string) string { return `k:{"name":` + strconv.Quote(name) + `}` }

// noFields is FieldsV1 of nothing.
const noFields = "{}"

var errNoFields = errors.New("FieldsV1 is no JSON object")

// without is FieldsV1 but for the fields, and for what has nothing else below it; had says whether any of them was there.
// It copies what is not on the way to them unread: a set of the hundreds of fields of a workload costs more than all else
// that admission does.
func without(owned *metav1.FieldsV1, fields *fieldTree) (left string, had bool, err error) {
	if owned == nil {
		return noFields, false, nil
	}
	p := pruning{in: jsontext.NewDecoder(owned.GetRawReader(), writtenByTheAPIServer)}
	had, err = p.object(fields)
	return string(p.left), had, err
}

type pruning struct {
	in   *jsontext.Decoder
	left []byte
}

// object copies one object but for the fields.
func (p *pruning) object(fields *fieldTree) (had bool, err error) {
	if open, err := p.in.ReadToken(); err != nil || open.Kind() != jsontext.KindBeginObject {
		return false, errors.Join(errNoFields, err)
	}
	p.left = append(p.left, '{')
	start := len(p.left)
	for p.in.PeekKind() == jsontext.KindString {
		before := len(p.left)
		if before > start {
			p.left = append(p.left, ',')
		}
		gone, hadIt, err := p.member(fields)
		if err != nil {
			return false, err
		}
		if gone {
			p.left = p.left[:before]
		}
		had = had || hadIt
	}
	p.left = append(p.left, '}')
	_, err = p.in.ReadToken()
	return had, err
}

// member copies a member of an object. It is gone when it is one of the fields, or when they were all that it had.
func (p *pruning) member(fields *fieldTree) (gone, had bool, err error) {
	name, err := p.in.ReadToken()
	if err != nil {
		return false, false, err
	}
	below, isOnTheWay := fields.below[name.String()]
	if isOnTheWay && below.isEmpty() {
		return true, true, p.in.SkipValue()
	}
	if p.left, err = jsontext.AppendQuote(p.left, name.String()); err != nil {
		return false, false, err
	}
	p.left = append(p.left, ':')
	if !isOnTheWay {
		value, err := p.in.ReadValue()
		p.left = append(p.left, value...)
		return false, false, err
	}
	value := len(p.left)
	had, err = p.object(below)
	return had && string(p.left[value:]) == noFields, had, err
}
