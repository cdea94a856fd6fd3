package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	v1 "github.com/images-io/tagger/api/v1"
)

// putAttachment puts a manifest of cosign under its tag. cosign adds a signature to the layers of the manifest that has the tag already, at
// the mirror as well as at the source: what only the mirror has stays.
func (m mirror) putAttachment(ctx context.Context, n *node, tag string) error {
	held, err := m.holds(ctx, tag)
	if err != nil || held == n.Digest.String() {
		return err
	}
	if held != "" {
		content, _, err := m.look(ctx, m.at.tagged(tag), isGone)
		if err != nil {
			return m.fault(err)
		}
		if n, err = n.union(content); err != nil {
			return newError(v1.ReasonInvalidContent, err, "%s: what has the tag %s cannot be merged with what the source has: %v; delete the tag to have it replaced", m.at.text, tag, err)
		}
		if n == nil {
			return nil
		}
	}
	_, err = m.put(ctx, n, tag)
	return err
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
	added := without(heldEntries, ownEntries)
	switch {
	case len(added) == 0:
		return n, nil
	case len(without(ownEntries, heldEntries)) == 0:
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

// descriptorsOf returns the descriptors of a list without white space, so that equal ones are equal texts. The whole text counts: cosign keeps
// signatures in annotations of descriptors, so that two of them may have one digest.
func descriptorsOf(list json.RawMessage) (entries []json.RawMessage, err error) {
	if err := json.Unmarshal(list, &entries); err != nil {
		return nil, err
	}
	for i, entry := range entries {
		var compact bytes.Buffer
		if err := json.Compact(&compact, entry); err != nil {
			return nil, err
		}
		entries[i] = compact.Bytes()
	}
	return entries, nil
}

// without returns the entries that are not among the others.
func without(entries, others []json.RawMessage) (left []json.RawMessage) {
	known := map[string]bool{}
	for _, entry := range others {
		known[string(entry)] = true
	}
	for _, entry := range entries {
		if !known[string(entry)] {
			left = append(left, entry)
		}
	}
	return left
}
