package pin

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

// maxWarnings bounds the warnings of one request. The API server passes on 4 KiB of them in all.
const maxWarnings = 16

// RefusedError rejects a workload that must not be stored. Its text is for the user.
type RefusedError struct{ text string }

// Error returns what is wrong and what to do.
func (e *RefusedError) Error() string { return e.text }

func refuse(format string, args ...any) *RefusedError {
	return &RefusedError{fmt.Sprintf(format, args...)}
}

// Request is a workload before it is stored. Admit changes New in place.
type Request struct {
	// Old is the stored workload; the zero value on create.
	Old Workload
	New Workload
	// Namespace is the workload's namespace.
	Namespace string
	// Trusted means that the request is Tagger's own.
	Trusted bool
	// Lookup finds Tags in the cache.
	Lookup Lookup
	// Fresh finds Tags as Lookup does, and reads those live that are newer than the cache. Admit calls it for bare names only.
	Fresh Lookup
}

// Admit pins the image fields of an annotated workload that name Tags, and changes nothing else. The result depends on the
// request and the Tags alone, so it is the same on a dry run and on reinvocation (DESIGN 4.3 to 4.9). Its time is linear in
// the size of the request. It returns warnings for the user, and a RefusedError for a workload that must not be stored.
func Admit(request Request) ([]string, error) {
	a := admission{
		Request: request, fields: request.New.ImageFields(), old: map[string]ImageField{},
		record: Record{}, stored: request.Old.record(), brought: request.New.record(),
	}
	for _, f := range request.Old.ImageFields() {
		a.old[f.Key] = f
	}
	var err error
	if request.New.Enabled() {
		err = a.admit()
	} else if request.Old.Enabled() {
		err = a.release()
	}
	return a.warnings, err
}

type admission struct {
	Request
	fields []ImageField // of New
	old    map[string]ImageField
	// stored is the record of the old object, brought the one in the request, record the one to write.
	stored, brought, record Record
	// renamed has the stored entries of fields that disappeared, by imageIdentity.
	renamed  map[string]Entry
	warnings []string
}

func (a *admission) admit() error {
	a.renamed = a.disappeared()
	for _, f := range a.fields {
		if err := a.field(f); err != nil {
			return err
		}
	}
	if err := a.carryOut(); err != nil {
		return err
	}
	if !a.New.setRecord(a.record) {
		a.warn("the images are pinned, and do not follow their Tags: the record of %d of them would be larger than the %d KiB that an annotation of Tagger may have", len(a.record), MaxAnnotation>>10)
	}
	return nil
}

// field decides on one image field of an annotated workload.
func (a *admission) field(f ImageField) error {
	entry, recorded, err := a.entry(f)
	if err != nil {
		return err
	}
	following := false
	if recorded {
		if following, err = follows(*f.Image, a.Namespace, entry, a.Lookup); err != nil {
			return err
		}
		following = following || isSibling(*f.Image, a.recordedImage(f, entry))
	}
	old, existed := a.old[f.Key]
	switch {
	case existed && *old.Image == *f.Image, following && isRecorded(*f.Image, a.Namespace, entry):
		if following {
			a.record[f.Key] = entry
		}
	case following:
		a.restore(f, entry)
	case mayNameTag(*f.Image):
		return a.pin(f, entry)
	default:
		a.detach(f, entry)
	}
	return nil
}

// restore sets a field that follows its Tag to the recorded image.
func (a *admission) restore(f ImageField, entry Entry) {
	switch {
	case *f.Image == entry.Tag:
		if old, existed := a.old[f.Key]; !existed || *old.PullPolicy != *f.PullPolicy { // the default for a name, after a replacement of the whole object
			a.relax(f, &entry)
		}
		*f.Image = a.recordedImage(f, entry)
	case reference.IsPlaceholder(entry.Image):
		entry.Image = *f.Image
	default:
		a.warn("%s keeps the image of Tag %q, %s; use \"kubectl tag downgrade %s\" to go back", f, entry.Tag, entry.Image, entry.Tag)
		*f.Image = a.recordedImage(f, entry)
	}
	a.record[f.Key] = entry
}

// recordedImage returns the recorded image in its stored repository: another webhook may have changed that.
func (a *admission) recordedImage(f ImageField, entry Entry) string {
	if old, existed := a.old[f.Key]; existed && isRecorded(*old.Image, a.Namespace, entry) {
		return *old.Image
	}
	return entry.Image
}

// pin replaces the name of a Tag by its image, or by the placeholder if the Tag has none. Before is the previous record of the
// field, if any.
func (a *admission) pin(f ImageField, before Entry) error {
	name := *f.Image
	tag, exists, err := a.Fresh(name)
	if err != nil {
		return err
	}
	reason := tag.Reason
	if !exists {
		reason = fmt.Sprintf("there is no such Tag in namespace %s; the image of docker.io is written %s:latest", a.Namespace, name)
	}
	switch {
	case tag.Image != "":
	case a.New.Immutable:
		return refuse("Tag %s has no import yet (%s); apply again when it is Ready", name, reason)
	default:
		a.warn("%s waits for Tag %q, which has no import yet (%s)", f, name, reason)
	}
	a.set(f, name, tag.imageOrPlaceholder(a.Namespace, name), before)
	return nil
}

// set writes the image and its record. A digest does not go stale, so a node need not pull it again when it replaces a name.
func (a *admission) set(f ImageField, name, image string, before Entry) {
	entry := Entry{Tag: name, Image: image, PullPolicy: before.PullPolicy}
	if mayNameTag(*f.Image) {
		a.relax(f, &entry)
	}
	*f.Image = image
	a.record[f.Key] = entry
}

// relax sets Always to IfNotPresent, and records the former value.
func (a *admission) relax(f ImageField, entry *Entry) {
	if *f.PullPolicy == corev1.PullAlways && !a.New.keepsPullPolicy() {
		entry.PullPolicy, *f.PullPolicy = corev1.PullAlways, corev1.PullIfNotPresent
	}
}

// detach ends the record of a field whose image changed, and warns of images that look like the name of a Tag.
func (a *admission) detach(f ImageField, entry Entry) {
	if entry.Tag != "" {
		a.warn("%s no longer follows Tag %q: its image is now %s", f, entry.Tag, *f.Image)
		a.restorePullPolicy(f, entry)
	}
	if name := reference.DockerLibraryName(*f.Image); name != "" {
		if _, exists, err := a.Lookup(name); err == nil && exists {
			a.warn("%s: image %s is the one of docker.io, not Tag %q; write %s to use the Tag", f, *f.Image, name, name)
		}
	}
}

// restorePullPolicy restores the pull policy from before the pinning, unless the request sets another one.
func (a *admission) restorePullPolicy(f ImageField, entry Entry) {
	old, existed := a.old[f.Key]
	if entry.PullPolicy != "" && existed && *old.PullPolicy == *f.PullPolicy && *f.PullPolicy == corev1.PullIfNotPresent {
		*f.PullPolicy = entry.PullPolicy
	}
}

// carryOut copies the requested images of images.io/requested into the template, and removes the annotation. Unless Tagger sent
// the request, it looks the references up. A request for a field that does not follow that Tag any more is out of date.
func (a *admission) carryOut() error {
	text, ok := a.New.Meta.Annotations[v1.AnnotationRequested]
	if !ok {
		return nil
	}
	delete(a.New.Meta.Annotations, v1.AnnotationRequested)
	requested, err := ParseRecord(text)
	if err != nil {
		a.warn("annotation %s is ignored: %v", v1.AnnotationRequested, err)
		return nil
	}
	for _, f := range a.fields {
		if wanted, ok := requested[f.Key]; ok {
			if err := a.move(f, wanted); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *admission) move(f ImageField, wanted Entry) error {
	if a.record[f.Key].Tag != wanted.Tag && !names(*f.Image, a.Namespace, wanted.Tag) {
		return nil
	}
	image := wanted.Image
	if !a.Trusted {
		tag, exists, err := a.Lookup(wanted.Tag)
		if err != nil || !exists || tag.Image == "" {
			return err
		}
		image = tag.Image
	}
	a.set(f, wanted.Tag, image, a.record[f.Key])
	return nil
}

// release ends the management of a workload whose annotation is removed; the running images stay. It refuses an image that
// is still the Tag's name: a node would take it for an image of docker.io (DESIGN 4.8).
func (a *admission) release() error {
	followed := map[string]Entry{}
	for _, entry := range a.stored {
		followed[entry.Tag] = entry
	}
	for _, f := range a.fields {
		if entry, isName := followed[*f.Image]; isName {
			instead := entry.Image
			if reference.IsPlaceholder(instead) {
				instead = "the full reference of an image"
			}
			return refuse("%s still has the name of Tag %s as its image, and without the annotation %s: \"true\" a node would pull it from docker.io; write %s instead, or keep the annotation",
				f, entry.Tag, v1.AnnotationEnabled, instead)
		}
		if entry, recorded := a.stored[f.Key]; recorded && !isRecorded(*f.Image, a.Namespace, entry) {
			a.restorePullPolicy(f, entry)
		}
	}
	if len(a.stored) > 0 {
		a.warn("without the annotation %s: \"true\" Tagger does not manage this workload's images any more", v1.AnnotationEnabled)
	}
	delete(a.New.Meta.Annotations, v1.AnnotationPinned)
	delete(a.New.Meta.Annotations, v1.AnnotationRequested)
	return nil
}

func (a *admission) warn(format string, args ...any) {
	switch {
	case len(a.warnings) < maxWarnings:
		a.warnings = append(a.warnings, fmt.Sprintf(format, args...))
	case len(a.warnings) == maxWarnings:
		a.warnings = append(a.warnings, "more warnings of this request are left out")
	}
}
