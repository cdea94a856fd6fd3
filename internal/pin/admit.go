package pin

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

// NotImportedError refuses a workload that would not recover from a Tag without an import.
type NotImportedError struct {
	Tag    string
	Reason string
}

// Error says which Tag, why, and what to do.
func (e *NotImportedError) Error() string {
	return fmt.Sprintf("Tag %s has no import yet (%s); apply again when it is Ready", e.Tag, e.Reason)
}

// Request is a workload about to be stored. Admit changes New in place.
type Request struct {
	// Old is what is stored now; its zero value on create.
	Old Workload
	New Workload
	// Namespace is the workload's.
	Namespace string
	// Trusted says that the request is Tagger's own.
	Trusted bool
	// Lookup finds Tags among those that are known already.
	Lookup Lookup
	// Fresh finds Tags and imports of a moment before, too. It is asked for bare names only.
	Fresh Lookup
}

// Admit pins what has to be pinned and leaves everything else as it is. The answer depends on the request and the
// Tags alone, so it is the same on a dry run and when asked again (DESIGN: Workloads, rules 3 to 9).
// It returns warnings for the user, and a NotImportedError for what must not be stored.
func Admit(request Request) ([]string, error) {
	a := admission{Request: request, record: Record{}, stored: request.Old.record(), brought: request.New.record()}
	var err error
	if request.New.Enabled() {
		err = a.admit()
	} else if request.Old.Enabled() {
		a.release()
	}
	return a.warnings, err
}

type admission struct {
	Request
	// stored is the record of the old object, brought the one in the request, record the one to be written.
	stored, brought, record Record
	warnings                []string
}

func (a *admission) admit() error {
	for _, c := range a.New.Containers() {
		if err := a.container(c); err != nil {
			return err
		}
	}
	if err := a.carryOut(); err != nil {
		return err
	}
	a.New.setRecord(a.record)
	return nil
}

// container decides on one container of an annotated workload.
func (a *admission) container(c *corev1.Container) error {
	entry, recorded, err := a.entry(c)
	if err != nil {
		return err
	}
	following := false
	if recorded {
		if following, err = follows(c.Image, a.Namespace, entry, a.Lookup); err != nil {
			return err
		}
	}
	old := a.Old.container(c.Name)
	switch {
	case old != nil && old.Image == c.Image:
		if following {
			a.record[c.Name] = entry
		}
	case following:
		a.restore(c, old, entry)
	case mayNameTag(c.Image):
		return a.pin(c, old, entry)
	default:
		a.leave(c, old, entry)
	}
	return nil
}

// entry is the record that counts for a container: the stored one, not one that an undo brings along. What the request
// brings counts where nothing is stored, where Tagger itself brings it, and where the image leaves the stored Tag for
// another: that is a switch, asked again, or the undo of one.
func (a *admission) entry(c *corev1.Container) (Entry, bool, error) {
	stored, isStored := a.stored[c.Name]
	brought, isBrought := a.brought[c.Name]
	switch {
	case !isBrought || brought.Image != c.Image || mayNameTag(brought.Image):
		return stored, isStored, nil
	case !isStored || a.Trusted || brought.Tag == stored.Tag && brought.Image == stored.Image:
		return brought, true, nil
	case brought.Tag == stored.Tag:
		return stored, true, nil
	}
	return a.switched(c, stored, brought)
}

// switched decides between the Tag that is stored and another one that the request brings with its image.
func (a *admission) switched(c *corev1.Container, stored, brought Entry) (Entry, bool, error) {
	tag, exists, err := a.Lookup(brought.Tag)
	if err != nil || !exists {
		return stored, true, err
	}
	if tag.answer(a.Namespace, brought.Tag) == c.Image {
		return brought, true, nil
	}
	stays, err := follows(c.Image, a.Namespace, stored, a.Lookup)
	if err != nil || stays {
		return stored, true, err
	}
	if returns, err := isDigestOf(c.Image, brought, a.Lookup); err != nil || !returns {
		return stored, true, err
	}
	return Entry{Tag: brought.Tag, Image: cmp.Or(tag.Image, c.Image), PullPolicy: brought.PullPolicy}, true, nil
}

// restore gives a container that follows its Tag the recorded image back.
func (a *admission) restore(c, old *corev1.Container, entry Entry) {
	switch {
	case c.Image == entry.Image:
	case c.Image == entry.Tag:
		if old == nil || old.ImagePullPolicy != c.ImagePullPolicy { // the default of a name, since the whole object was replaced
			a.relax(c, &entry)
		}
		c.Image = entry.Image
	case reference.IsPlaceholder(entry.Image):
		entry.Image = c.Image
	default:
		a.warn("container %q stays with what Tag %q is, %s; use \"kubectl tag downgrade %s\" to go back", c.Name, entry.Tag, entry.Image, entry.Tag)
		c.Image = entry.Image
	}
	a.record[c.Name] = entry
}

// pin replaces the name of a Tag by its image. Before is the record that the container leaves, if it had one.
func (a *admission) pin(c, old *corev1.Container, before Entry) error {
	name := c.Image
	tag, exists, err := a.Fresh(name)
	switch {
	case err != nil:
		return err
	case !exists:
		a.warn("container %q: there is no Tag %q in namespace %q, so the image stays as it is", c.Name, name, a.Namespace)
		a.leave(c, old, before)
		return nil
	case tag.Image == "" && !a.New.Recovers:
		return &NotImportedError{Tag: name, Reason: tag.Reason}
	case tag.Image == "":
		a.warn("container %q waits for Tag %q, which has no import yet (%s)", c.Name, name, tag.Reason)
	}
	a.set(c, name, tag.answer(a.Namespace, name), before)
	return nil
}

// set writes the image and its record. A digest cannot go stale, so a node need not ask for it again when it replaces a name.
func (a *admission) set(c *corev1.Container, name, image string, before Entry) {
	entry := Entry{Tag: name, Image: image, PullPolicy: before.PullPolicy}
	if mayNameTag(c.Image) {
		a.relax(c, &entry)
	}
	c.Image = image
	a.record[c.Name] = entry
}

// relax has a node pull only what it does not have, and records that it was told otherwise.
func (a *admission) relax(c *corev1.Container, entry *Entry) {
	if c.ImagePullPolicy == corev1.PullAlways && !a.New.keepsPullPolicy() {
		entry.PullPolicy, c.ImagePullPolicy = corev1.PullAlways, corev1.PullIfNotPresent
	}
}

// leave lets a container go that got another image, with the pull policy that was there before it was pinned.
func (a *admission) leave(c, old *corev1.Container, entry Entry) {
	if entry.PullPolicy != "" && old != nil && old.ImagePullPolicy == c.ImagePullPolicy && c.ImagePullPolicy == corev1.PullIfNotPresent {
		c.ImagePullPolicy = entry.PullPolicy
	}
}

// carryOut copies what images.io/requested asks for into the template, and removes it. From anybody but Tagger the
// references are looked up. A request for a container that does not follow that Tag any more is out of date.
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
	for name, wanted := range requested {
		if err := a.move(a.New.container(name), wanted); err != nil {
			return err
		}
	}
	return nil
}

func (a *admission) move(c *corev1.Container, wanted Entry) error {
	if c == nil || (a.record[c.Name].Tag != wanted.Tag && !names(c.Image, a.Namespace, wanted.Tag)) {
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
	a.set(c, wanted.Tag, image, a.record[c.Name])
	return nil
}

// release lets a workload go whose annotation is removed: the running images stay, and nobody manages them any more.
// Any image but the Tag's name was chosen by whoever removes the annotation.
func (a *admission) release() {
	for _, c := range a.New.Containers() {
		entry, recorded := a.stored[c.Name]
		if recorded && c.Image != entry.Image && names(c.Image, a.Namespace, entry.Tag) {
			a.warn("container %q keeps %s: without the annotation %s nobody translates the name of a Tag, so change the image in the manifest, too",
				c.Name, entry.Image, v1.AnnotationEnabled)
			c.Image = entry.Image
		}
	}
	if len(a.stored) > 0 {
		a.warn("without the annotation %s: \"true\" Tagger leaves this workload's images alone from now on", v1.AnnotationEnabled)
	}
	delete(a.New.Meta.Annotations, v1.AnnotationPinned)
	delete(a.New.Meta.Annotations, v1.AnnotationRequested)
}

func (a *admission) warn(format string, args ...any) {
	a.warnings = append(a.warnings, fmt.Sprintf(format, args...))
}
