package registry

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	v1 "github.com/images-io/tagger/api/v1"
)

// putAttachment puts a manifest of cosign under its tag. cosign adds a signature to the layers of the manifest that has the tag already, at
// the mirror as well as at the source: what only the mirror has stays.
func (m mirror) putAttachment(ctx context.Context, n *node, tag string) (written bool, err error) {
	held, err := m.holds(ctx, tag)
	if err != nil || held == n.Digest.String() {
		return false, err
	}
	if held != "" {
		content, _, err := m.look(ctx, m.at.tagged(tag), isGone)
		if err != nil {
			return false, m.fault(err)
		}
		if n, err = n.union(content); err != nil {
			return false, newError(v1.ReasonInvalidContent, err, "%s: what has the tag %s cannot be merged with what the source has: %v; delete the tag to have it replaced", m.at.text, tag, err)
		}
		if n == nil {
			return false, nil
		}
	}
	_, err = m.put(ctx, n, tag)
	return err == nil, err
}

// errDifferentKinds is an index here and an image there.
var errDifferentKinds = errors.New("one is an index and the other is an image")

// union returns the node with the entries that only the other manifest has, last; nil where the other one has all entries already. What these
// entries name is where the other manifest is.
func (n *node) union(other []byte) (*node, error) {
	if other == nil {
		return n, nil
	}
	var own, held map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(n.content, &own), json.Unmarshal(other, &held)); err != nil {
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
	added, err := without(heldEntries, ownEntries)
	if err != nil {
		return nil, err
	}
	missing, err := without(ownEntries, heldEntries)
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
	if err == nil && len(content) > maxManifest {
		err = errTooLarge
	}
	return &node{descriptor: descriptor{MediaType: n.MediaType}, content: content}, err
}

// descriptorsOf returns the descriptors of a list.
func descriptorsOf(list json.RawMessage) (descriptors []json.RawMessage, err error) {
	err = json.Unmarshal(list, &descriptors)
	return descriptors, err
}

// without returns the descriptors that are not among the others. All that they say counts: cosign keeps signatures in annotations of
// descriptors, so that two of them may have one digest.
func without(descriptors, others []json.RawMessage) (left []json.RawMessage, err error) {
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
