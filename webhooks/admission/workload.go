package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
)

// Registries tells where images without a registry come from.
type Registries interface {
	// UnqualifiedRegistry is the registry of images without one, empty meaning docker.io.
	UnqualifiedRegistry() string
}

// Pinner writes pinned references into the templates of annotated workloads.
type Pinner struct {
	// Tags reads the informer cache.
	Tags client.Reader
	// Live reads the API server, for a Tag that the cache does not know yet, or no import of.
	Live client.Reader
	// Registries normalises names as the importer does.
	Registries Registries
	// Username is the manager's own; references that it requests are written as they are.
	Username string
}

// longestRead bounds the live reads of one answer together. It is less than the timeoutSeconds of config/webhook, so that there is
// time to answer where the API server does not answer us.
const longestRead = 2 * time.Second

// Handle answers one AdmissionReview. The answer is the same on a dry run and when asked again.
func (p *Pinner) Handle(ctx context.Context, request admission.Request) admission.Response {
	if !mentionsTagger(request.Object.Raw) && !mentionsTagger(request.OldObject.Raw) {
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
	live, cancel := context.WithTimeout(ctx, longestRead)
	defer cancel()
	before := snapshotOf(workload)
	warnings, err := pin.Admit(pin.Request{
		Old:       old,
		New:       workload,
		Namespace: request.Namespace,
		Trusted:   request.UserInfo.Username == p.Username,
		Lookup:    p.lookup(ctx, request.Namespace, p.Tags),
		Fresh:     p.lookup(live, request.Namespace, p.Tags, p.Live),
	})
	if err != nil {
		return refused(err).WithWarnings(warnings...)
	}
	patch := append(before.operations(workload), releaseOperations(workload.Meta.ManagedFields, imageFields(workload))...)
	return admission.Patched("", patch...).WithWarnings(warnings...)
}

// refused tells a workload that must not be stored from a fault of ours.
func refused(err error) admission.Response {
	var refusal *pin.RefusedError
	if errors.As(err, &refusal) {
		return admission.Denied(refusal.Error())
	}
	return admission.Errored(http.StatusInternalServerError, err)
}

// old is the workload that is stored now; the zero value on create.
func (p *Pinner) old(request admission.Request) (pin.Workload, error) {
	if request.Operation != admissionv1.Update {
		return pin.Workload{}, nil
	}
	old, _, err := decode(request.Kind.Kind, request.OldObject.Raw)
	return old, err
}

// lookup finds Tags of a namespace, each asked for once.
func (p *Pinner) lookup(ctx context.Context, namespace string, readers ...client.Reader) pin.Lookup {
	found := map[string]*v1.Tag{}
	get := func(name string) (*v1.Tag, error) {
		if tag, asked := found[name]; asked {
			return tag, nil
		}
		tag, err := find(ctx, types.NamespacedName{Namespace: namespace, Name: name}, readers)
		if err == nil {
			found[name] = tag
		}
		return tag, err
	}
	return pin.LookupWith(get, p.Registries.UnqualifiedRegistry())
}

// find is the Tag of the first reader that knows an import of it, else of the first that has it, or nil.
func find(ctx context.Context, name types.NamespacedName, readers []client.Reader) (*v1.Tag, error) {
	var found *v1.Tag
	for _, reader := range readers {
		var tag v1.Tag
		err := reader.Get(ctx, name, &tag, client.UnsafeDisableDeepCopy) // pinning only reads
		switch {
		case err == nil && tag.Current() != nil:
			return &tag, nil
		case err == nil:
			found = &tag
		case found == nil && !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("Tagger could not read Tag %s: %w", name, err)
		}
	}
	return found, nil
}
