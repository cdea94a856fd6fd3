package admission

import (
	"context"
	"errors"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
)

// Registries returns the default registry.
type Registries interface {
	// UnqualifiedRegistry returns the registry of images without one, empty meaning docker.io.
	UnqualifiedRegistry() string
}

// Pinner writes pinned references into the templates of annotated workloads.
type Pinner struct {
	// Tags reads the informer cache.
	Tags client.Reader
	// Live reads the API server, for a Tag that the cache does not have yet, or has without an import.
	Live client.Reader
	// Registries normalizes names as the importer does.
	Registries Registries
	// Username is the manager's own. The webhook writes references that the manager requests without a lookup.
	Username string
}

// Handle responds to one AdmissionReview. A dry run or a repeated review gets the same response.
func (p *Pinner) Handle(ctx context.Context, request admission.Request) admission.Response {
	if !mayHaveOptedIn(request.Object.Raw) && !mayHaveOptedIn(request.OldObject.Raw) {
		return admission.Allowed("")
	}
	workload, ok, err := decode(request.Kind.Kind, request.Object.Raw)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	old, err := p.old(request)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if !ok || !workload.Enabled() && !old.Enabled() {
		return admission.Allowed("")
	}
	before := snapshotOf(workload)
	warnings, err := p.pin(ctx, request, workload, old)
	if err != nil {
		return refused(err).WithWarnings(warnings...)
	}
	patch := append(before.operations(workload), releaseOperations(workload.Meta.ManagedFields, imageFields(workload))...)
	return admission.Patched("", patch...).WithWarnings(warnings...)
}

// pin changes the image fields of the workload. Live reads, and first imports that a Job waits for, take up to half of the time
// until the deadline, so that the response is in time.
func (p *Pinner) pin(ctx context.Context, request admission.Request, workload, old pin.Workload) ([]string, error) {
	tags := p.tags(request.Namespace)
	reading, cancel := context.WithTimeout(ctx, half(ctx, longestRead))
	defer cancel()
	if workload.Immutable && request.Operation == admissionv1.Create {
		patience, cancel := context.WithTimeout(ctx, half(ctx, longestWait))
		defer cancel()
		if err := tags.awaitImports(ctx, reading, patience, workload); err != nil {
			return nil, err
		}
	}
	registry := p.Registries.UnqualifiedRegistry()
	return pin.Admit(pin.Request{
		Old:       old,
		New:       workload,
		Namespace: request.Namespace,
		Trusted:   request.UserInfo.Username == p.Username,
		Lookup:    pin.LookupWith(func(name string) (*v1.Tag, error) { return tags.cached(ctx, name) }, registry),
		Fresh:     pin.LookupWith(func(name string) (*v1.Tag, error) { return tags.fresh(ctx, reading, name) }, registry),
	})
}

// refused returns 403 for a workload that must not be stored, and 500 for an internal error.
func refused(err error) admission.Response {
	var refusal *pin.RefusedError
	if errors.As(err, &refusal) {
		return admission.Denied(refusal.Error())
	}
	return admission.Errored(http.StatusInternalServerError, err)
}

// old returns the stored workload, or the zero value on create.
func (p *Pinner) old(request admission.Request) (pin.Workload, error) {
	if request.Operation != admissionv1.Update {
		return pin.Workload{}, nil
	}
	old, _, err := decode(request.Kind.Kind, request.OldObject.Raw)
	return old, err
}
