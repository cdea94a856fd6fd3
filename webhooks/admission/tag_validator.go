package admission

import (
	"context"
	"fmt"
	"net/http"

	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/images-io/tagger/internal/reference"
)

// TagValidator rejects sources that are not image references, which the schema cannot fully check, and warns of sources that
// push notifications do not reach.
type TagValidator struct {
	Registries Registries
}

// Handle responds to one AdmissionReview.
func (v *TagValidator) Handle(_ context.Context, request admission.Request) admission.Response {
	tag, old, _, err := decodeTag(request)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if old != nil && old.Spec.From == tag.Spec.From {
		return admission.Allowed("")
	}
	source, err := reference.Parse(tag.Spec.From, v.Registries.UnqualifiedRegistry())
	if err != nil {
		return admission.Errored(http.StatusUnprocessableEntity, fmt.Errorf("spec.from: %w", err))
	}
	response := admission.Allowed("")
	if !source.Qualified() {
		response = response.WithWarnings("spec.from has no registry and is taken as " + source.String() +
			"; push notifications do not reach such a Tag; to receive them, write the registry")
	}
	return response
}
