package manifest

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// errDifferentKinds is an index here and an image there.
var errDifferentKinds = errors.New("one is an index and the other is an image")

// Union returns the node with the entries that only the other manifest has, last; nil where the other one has all entries already. What these
// entries name is where the other manifest is.
func (n *Node) Union(other []byte) (*Node, error) {
	if other == nil {
		return n, nil
	}
	var own, held map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(n.Content, &own), json.Unmarshal(other, &held)); err != nil {
		return nil, err
	}
	list := "layers"
	if n.MediaType.IsIndex() {
		list = "manifests"
	}
	if own[list] == nil || held[list] == nil {
		return nil, errDifferentKinds
	}
	ownEntries, err := descriptorsOf(own[list])
	if err != nil {
		return nil, err
	}
	heldEntries, err := descriptorsOf(held[list])
	if err != nil {
		return nil, err
	}
	added, err := missingFrom(heldEntries, ownEntries)
	if err != nil {
		return nil, err
	}
	missing, err := missingFrom(ownEntries, heldEntries)
	if err != nil {
		return nil, err
	}
	switch {
	case len(added) == 0:
		return n, nil
	case len(missing) == 0:
		return nil, nil
	case len(ownEntries)+len(added) > maxLayers:
		return nil, errTooManyLayers
	}
	if own[list], err = json.Marshal(slices.Concat(ownEntries, added)); err != nil {
		return nil, err
	}
	content, err := json.Marshal(own)
	if err == nil && len(content) > MaxSize {
		err = ErrTooLarge
	}
	return &Node{Descriptor: Descriptor{MediaType: n.MediaType}, Content: content}, err
}

// descriptorsOf returns the descriptors of a list.
func descriptorsOf(list json.RawMessage) (descriptors []json.RawMessage, err error) {
	err = json.Unmarshal(list, &descriptors)
	return descriptors, err
}

// missingFrom returns the descriptors that are not among the others. All that they say counts: cosign keeps signatures in annotations of
// descriptors, so that two of them may have one digest.
func missingFrom(descriptors, others []json.RawMessage) (left []json.RawMessage, err error) {
	known := map[string]bool{}
	for _, other := range others {
		text, err := canonical(other)
		if err != nil {
			return nil, err
		}
		known[text] = true
	}
	for _, one := range descriptors {
		text, err := canonical(one)
		if err != nil {
			return nil, err
		}
		if !known[text] {
			left = append(left, one)
		}
	}
	return left, nil
}

// canonical returns JSON in the form that equal values share (RFC 8785).
func canonical(value json.RawMessage) (string, error) {
	form := jsontext.Value(value).Clone()
	err := form.Canonicalize(jsontext.AllowInvalidUTF8(true))
	return string(form), err
}
