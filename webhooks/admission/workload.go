package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
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
	// Live reads the API server, for a Tag that the cache does not know yet.
	Live client.Reader
	// Registries normalises names as the importer does.
	Registries Registries
	// Username is the manager's own; references that it requests are written as they are.
	Username string
}

// Handle answers one AdmissionReview. The answer is the same on a dry run and when asked again.
func (p *Pinner) Handle(ctx context.Context, request admission.Request) admission.Response {
	object, err := decode(request.Kind.Kind, request.Object.Raw)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	workload, ok := pin.Of(object)
	if !ok {
		return admission.Allowed("")
	}
	old, err := p.old(request)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if !workload.Enabled() && !old.Enabled() {
		return admission.Allowed("")
	}
	before := snapshotOf(workload)
	warnings, err := pin.Admit(pin.Request{
		Old:       old,
		New:       workload,
		Namespace: request.Namespace,
		Trusted:   request.UserInfo.Username == p.Username,
		Lookup:    p.lookup(ctx, request.Namespace, p.Tags),
		Fresh:     p.lookup(ctx, request.Namespace, p.Tags, p.Live),
	})
	if err != nil {
		return refused(err).WithWarnings(warnings...)
	}
	patch := append(before.operations(workload), releaseOperations(workload.Meta.ManagedFields, imageFields(workload))...)
	return admission.Patched("", patch...).WithWarnings(warnings...)
}

// refused tells a workload that must not be stored from a fault of ours.
func refused(err error) admission.Response {
	var notImported *pin.NotImportedError
	if errors.As(err, &notImported) {
		return admission.Denied(notImported.Error())
	}
	return admission.Errored(http.StatusInternalServerError, err)
}

// old is the workload that is stored now; the zero value on create.
func (p *Pinner) old(request admission.Request) (pin.Workload, error) {
	if request.Operation != admissionv1.Update {
		return pin.Workload{}, nil
	}
	object, err := decode(request.Kind.Kind, request.OldObject.Raw)
	if err != nil {
		return pin.Workload{}, err
	}
	old, _ := pin.Of(object)
	return old, nil
}

// lookup finds Tags of a namespace with the first reader that has them, each asked for once.
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

// find is the Tag of the first reader that has it, or nil.
func find(ctx context.Context, name types.NamespacedName, readers []client.Reader) (*v1.Tag, error) {
	for _, reader := range readers {
		var tag v1.Tag
		err := reader.Get(ctx, name, &tag)
		if err == nil {
			return &tag, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("Tagger could not read Tag %s: %w", name, err)
		}
	}
	return nil, nil
}

func decode(kind string, raw []byte) (any, error) {
	var object any
	switch kind {
	case "Deployment":
		object = &appsv1.Deployment{}
	case "DaemonSet":
		object = &appsv1.DaemonSet{}
	case "StatefulSet":
		object = &appsv1.StatefulSet{}
	case "Job":
		object = &batchv1.Job{}
	case "CronJob":
		object = &batchv1.CronJob{}
	default:
		return nil, nil
	}
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, fmt.Errorf("the %s in the request cannot be read: %w", kind, err)
	}
	return object, nil
}
