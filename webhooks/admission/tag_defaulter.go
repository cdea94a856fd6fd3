package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/generation"
)

// TagDefaulter sets the generation of a Tag: it keeps the current one when the request has none or when a manifest repeats
// itself, applies requests by annotation, and advances the generation when the source changes (DESIGN: Generations, rules 5, 6
// and 8).
type TagDefaulter struct{}

// Handle responds to one AdmissionReview.
func (*TagDefaulter) Handle(_ context.Context, request admission.Request) admission.Response {
	tag, old, manager, err := decodeTag(request)
	if err != nil || tag.Spec.From == "" {
		return admission.Allowed("") // the schema rejects it next, and names the field
	}
	before := tag.DeepCopy()
	defaulting := tagDefaulting{old: old, tag: tag, manager: manager}
	if err := defaulting.run(request.Operation); err != nil {
		return admission.Errored(http.StatusUnprocessableEntity, err)
	}
	patch := annotationOperations(before.Annotations, tag.Annotations)
	if before.Spec.Generation == nil || *before.Spec.Generation != *tag.Spec.Generation {
		patch = append(patch, jsonpatch.NewOperation("add", "/spec/generation", *tag.Spec.Generation))
	}
	patch = append(patch, releaseOperations(tag.ManagedFields, generationField)...)
	return admission.Patched("", patch...).WithWarnings(defaulting.warnings...)
}

type tagDefaulting struct {
	old, tag *v1.Tag
	manager  string
	warnings []string
}

func (d *tagDefaulting) run(operation admissionv1.Operation) error {
	defer d.tag.MarkAdmitted()
	if operation == admissionv1.Create {
		d.create()
		return nil
	}
	return d.update()
}

// create defaults the generation to 0. A Tag from a backup declares its generation again.
func (d *tagDefaulting) create() {
	delete(d.tag.Annotations, v1.AnnotationRequestedGeneration)
	if d.tag.Spec.Generation == nil {
		d.tag.Spec.Generation = new(int64)
		return
	}
	if _, ok := declared(d.tag); !ok {
		d.declare(*d.tag.Spec.Generation)
	}
}

func (d *tagDefaulting) update() error {
	current := d.old.WantedGeneration()
	manifest, isDeclared := declaration(d.old, d.tag, d.manager)
	d.restoreDeclared()
	if d.tag.Spec.Generation == nil {
		d.tag.Spec.Generation = &current
	}
	isRequest, err := d.request()
	if err != nil {
		return err
	}
	if isDeclared && !isRequest {
		d.repeat(manifest, current)
	}
	d.source(current)
	return d.allow(current)
}

// allow rejects a generation that is not available, and lists those that are: the schema's rule has no room for them.
func (d *tagDefaulting) allow(current int64) error {
	wanted := *d.tag.Spec.Generation
	if wanted == current || wanted < 0 || generation.Allowed(d.old, wanted) { // the schema rejects a negative one
		return nil
	}
	return errors.New("spec.generation: " + generation.Explain(d.old, wanted))
}

// restoreDeclared keeps the generation that was declared last, whatever the request says: kubectl replace drops annotations.
func (d *tagDefaulting) restoreDeclared() {
	delete(d.tag.Annotations, v1.AnnotationDeclaredGeneration)
	if before, ok := declared(d.old); ok {
		d.declare(before)
	}
}

// request applies a generation that is requested by annotation. It reports whether there was a request.
func (d *tagDefaulting) request() (bool, error) {
	text, ok := d.tag.Annotations[v1.AnnotationRequestedGeneration]
	if !ok {
		return false, nil
	}
	delete(d.tag.Annotations, v1.AnnotationRequestedGeneration)
	wanted, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return true, fmt.Errorf("annotation %s is %q; write the number of a generation, such as 1", v1.AnnotationRequestedGeneration, text)
	}
	d.tag.Spec.Generation = &wanted
	return true, nil
}

// repeat keeps the current generation when the manifest declares the same generation as before.
func (d *tagDefaulting) repeat(manifest, current int64) {
	before, known := declared(d.old)
	if known && before == manifest && before != current {
		d.tag.Spec.Generation = &current
		d.warn("spec.generation %d is what this manifest declared before, so Tag %q stays at generation %d; "+
			"\"kubectl tag upgrade\" and \"kubectl tag downgrade\" move it, and a manifest that leaves the generation out never does",
			before, d.tag.Name, current)
		return
	}
	d.declare(manifest)
}

// source advances the generation when the source changes and the request keeps the generation, so that a change always has an
// effect.
func (d *tagDefaulting) source(current int64) {
	newest := d.old.Newest()
	changed := d.tag.Spec.From != d.old.Spec.From || d.tag.Spec.Cache != d.old.Spec.Cache
	if !changed || newest == nil || *d.tag.Spec.Generation != current {
		return
	}
	next := newest.Generation + 1
	if current != next {
		d.warn("spec.from or spec.cache changed, so Tag %q moves to generation %d, which imports the image again", d.tag.Name, next)
	}
	d.tag.Spec.Generation = &next
}

func (d *tagDefaulting) declare(generation int64) {
	if d.tag.Annotations == nil {
		d.tag.Annotations = map[string]string{}
	}
	d.tag.Annotations[v1.AnnotationDeclaredGeneration] = strconv.FormatInt(generation, 10)
}

func (d *tagDefaulting) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

// declared returns the generation that a manifest declared last.
func declared(tag *v1.Tag) (int64, bool) {
	manifest, err := strconv.ParseInt(tag.Annotations[v1.AnnotationDeclaredGeneration], 10, 64)
	return manifest, err == nil
}

// decodeTag reads the Tag, the stored one (nil on create), and the request's field manager.
func decodeTag(request admission.Request) (tag, old *v1.Tag, manager string, err error) {
	tag = &v1.Tag{}
	if err := decodeObject(request.Object.Raw, tag); err != nil {
		return nil, nil, "", fmt.Errorf("the Tag in the request cannot be read: %w", err)
	}
	tag.Annotations = maps.Clone(tag.Annotations)
	if request.Operation == admissionv1.Update {
		old = &v1.Tag{}
		if err := decodeObject(request.OldObject.Raw, old); err != nil {
			return nil, nil, "", fmt.Errorf("the stored Tag cannot be read: %w", err)
		}
	}
	// CreateOptions have the field manager under the same name.
	var options metav1.UpdateOptions
	if len(request.Options.Raw) > 0 {
		if err := json.Unmarshal(request.Options.Raw, &options); err != nil {
			return nil, nil, "", fmt.Errorf("the options of the request cannot be read: %w", err)
		}
	}
	return tag, old, options.FieldManager, nil
}
