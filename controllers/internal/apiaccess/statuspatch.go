package apiaccess

import (
	"encoding/json"
	"fmt"

	"gomodules.xyz/jsonpatch/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// StatusPatch writes a status on condition that the Tag's spec and status are still those of before. The API server tests
// that itself (RFC 6902), in its own loop over conflicts, so it does not matter how often the rest is written.
func StatusPatch(before, after *v1.Tag) (client.Patch, error) {
	content, err := json.Marshal([]jsonpatch.Operation{
		jsonpatch.NewOperation("test", "/metadata/uid", before.UID),
		jsonpatch.NewOperation("test", "/metadata/generation", before.Generation), // which counts the changes of the spec
		jsonpatch.NewOperation("test", "/status", statusOf(before)),
		jsonpatch.NewOperation("add", "/status", after.Status), // or replace: it is the same to an object (section 4.1)
	})
	if err != nil {
		return nil, fmt.Errorf("writing the patch of a status: %w", err)
	}
	return client.RawPatch(types.JSONPatchType, content), nil
}

// statusOf returns the status as it is stored: that of a new Tag is missing, which equals null to the API server.
func statusOf(tag *v1.Tag) any {
	if equality.Semantic.DeepEqual(tag.Status, v1.TagStatus{}) {
		return nil
	}
	return tag.Status
}
