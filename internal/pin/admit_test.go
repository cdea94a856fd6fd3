package pin_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
)

const (
	old0    = "quay.io/company/myapp@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	now1    = "quay.io/company/myapp@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	other   = "quay.io/company/other@sha256:2222222222222222222222222222222222222222222222222222222222222222"
	foreign = "quay.io/elsewhere/x@sha256:3333333333333333333333333333333333333333333333333333333333333333"
	waiting = "not-imported.invalid/dev/empty"
)

// tags are the Tags of the namespace: two that share a repository, one of another, and one without an import.
var tags = map[string]pin.Tag{
	"myapp":  {Image: now1, IsFrom: from("quay.io/company/myapp")},
	"stable": {Image: old0, IsFrom: from("quay.io/company/myapp")},
	"other":  {Image: other, IsFrom: from("quay.io/company/other")},
	"empty":  {IsFrom: from("quay.io/company/myapp"), Reason: "NotFound"},
	"new":    {Reason: "the import is pending"},
}

// corp returns the image after another webhook wrote the company's registry into it.
func corp(image string) string { return strings.Replace(image, "quay.io", "mirror.corp", 1) }

func from(repository string) func(string) bool {
	return func(asked string) bool { return asked == repository }
}

func lookup(name string) (pin.Tag, bool, error) {
	tag, ok := tags[name]
	return tag, ok, nil
}

// deployment returns an annotated one with a container "app" of that image and pull policy, and with the record.
func deployment(image string, policy corev1.PullPolicy, record pin.Record) *appsv1.Deployment {
	d := &appsv1.Deployment{}
	d.Annotations = map[string]string{v1.AnnotationEnabled: "true"}
	if record != nil {
		d.Annotations[v1.AnnotationPinned] = record.Format()
	}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: policy}}
	return d
}

func pinned(tag, image string) pin.Record {
	return pin.Record{"app": {Tag: tag, Image: image, PullPolicy: corev1.PullAlways}}
}

func workload(d *appsv1.Deployment) pin.Workload {
	if d == nil {
		return pin.Workload{}
	}
	w, _ := pin.Of(d)
	return w
}

type row struct {
	old, new *appsv1.Deployment
	// image, policy and record are the stored ones in the end.
	image  string
	policy corev1.PullPolicy
	record pin.Record
	// warns is a part of the one warning; empty means none.
	warns string
}

func (r row) run(t *testing.T) {
	t.Helper()
	request := pin.Request{Old: workload(r.old), New: workload(r.new), Namespace: "dev", Lookup: lookup, Fresh: lookup}
	for _, time := range []string{"first", "asked again"} {
		warnings, err := pin.Admit(request)
		if err != nil {
			t.Fatal(err)
		}
		c := r.new.Spec.Template.Spec.Containers[0]
		if c.Image != r.image || c.ImagePullPolicy != r.policy {
			t.Errorf("%s: got %s, %s; want %s, %s", time, c.Image, c.ImagePullPolicy, r.image, r.policy)
		}
		want := ""
		if r.record != nil {
			want = r.record.Format()
		}
		if got := r.new.Annotations[v1.AnnotationPinned]; got != want {
			t.Errorf("%s: the record is %s, want %s", time, got, want)
		}
		if time == "first" && strings.Join(warnings, "\n") != "" != (r.warns != "") || time == "first" && !strings.Contains(strings.Join(warnings, "\n"), r.warns) {
			t.Errorf("warnings %q, want %q", warnings, r.warns)
		}
	}
}

func TestAdmitOnCreate(t *testing.T) {
	for name, r := range map[string]row{
		"the name of a Tag becomes its image, which need not be pulled again": {
			new:   deployment("myapp", corev1.PullAlways, nil),
			image: now1, policy: corev1.PullIfNotPresent, record: pinned("myapp", now1),
		},
		"a pull policy that a person wrote stays": {
			new:   deployment("myapp", corev1.PullNever, nil),
			image: now1, policy: corev1.PullNever, record: pin.Record{"app": {Tag: "myapp", Image: now1}},
		},
		"a Tag without an import becomes the placeholder": {
			new:   deployment("empty", corev1.PullAlways, nil),
			image: waiting, policy: corev1.PullIfNotPresent, record: pinned("empty", waiting), warns: "has no import yet (NotFound)",
		},
		"a name without a Tag becomes the placeholder": {
			new:   deployment("nginx", corev1.PullAlways, nil),
			image: "not-imported.invalid/dev/nginx", policy: corev1.PullIfNotPresent, record: pinned("nginx", "not-imported.invalid/dev/nginx"),
			warns: "there is no such Tag in namespace dev; the image of docker.io is written nginx:latest",
		},
		"the image of docker.io that a Tag is called like gets a warning": {
			new:   deployment("myapp:latest", corev1.PullAlways, nil),
			image: "myapp:latest", policy: corev1.PullAlways, warns: `not Tag "myapp"; write myapp to use the Tag`,
		},
		"so does the one with its registry": {
			new:   deployment("docker.io/myapp", corev1.PullAlways, nil),
			image: "docker.io/myapp", policy: corev1.PullAlways, warns: `not Tag "myapp"`,
		},
		"so does the one with its whole path": {
			new:   deployment("docker.io/library/myapp:1.0", corev1.PullIfNotPresent, nil),
			image: "docker.io/library/myapp:1.0", policy: corev1.PullIfNotPresent, warns: `not Tag "myapp"`,
		},
		"an image of docker.io that no Tag is called like gets none": {
			new:   deployment("nginx:latest", corev1.PullAlways, nil),
			image: "nginx:latest", policy: corev1.PullAlways,
		},
		"an image that cannot be a Tag's name stays": {
			new:   deployment("quay.io/company/myapp:latest", corev1.PullAlways, nil),
			image: "quay.io/company/myapp:latest", policy: corev1.PullAlways,
		},
		"a workload restored from a backup keeps following": {
			new:   deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: old0, policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
		"a made-up record that keeps a bare name counts for nothing": {
			new:   deployment("myapp", corev1.PullAlways, pin.Record{"app": {Tag: "other", Image: "myapp"}}),
			image: now1, policy: corev1.PullIfNotPresent, record: pinned("myapp", now1),
		},
		"a record that is not about this image counts for nothing": {
			new:   deployment("myapp", corev1.PullAlways, pinned("myapp", foreign)),
			image: now1, policy: corev1.PullIfNotPresent, record: pinned("myapp", now1),
		},
	} {
		t.Run(name, r.run)
	}
}

func TestAdmitOnUpdate(t *testing.T) {
	stored := func() *appsv1.Deployment { return deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0)) }
	for name, r := range map[string]row{
		"an untouched container stays, though the Tag has moved": {
			old: stored(), new: stored(),
			image: old0, policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
		"the manifest applied once more gets the recorded image": {
			old: stored(), new: deployment("myapp", corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: old0, policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
		"replaced by the manifest it keeps its pull policy and its record": {
			old: stored(), new: deployment("myapp", corev1.PullAlways, nil),
			image: old0, policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
		"replaced by the manifest it does not come to be pulled each time": {
			old: deployment(old0, corev1.PullIfNotPresent, pin.Record{"app": {Tag: "myapp", Image: old0}}), new: deployment("myapp", corev1.PullAlways, nil),
			image: old0, policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
		"a pull policy that a person set on the pinned container stays": {
			old: deployment(old0, corev1.PullAlways, pinned("myapp", old0)), new: deployment("myapp", corev1.PullAlways, pinned("myapp", old0)),
			image: old0, policy: corev1.PullAlways, record: pinned("myapp", old0),
		},
		"an undo to another digest changes nothing and names the command that does": {
			old: deployment(now1, corev1.PullIfNotPresent, pinned("myapp", now1)), new: stored(),
			image: now1, policy: corev1.PullIfNotPresent, record: pinned("myapp", now1), warns: "kubectl tag downgrade myapp",
		},
		"an undo to the placeholder changes nothing": {
			old: deployment(now1, corev1.PullIfNotPresent, pinned("empty", now1)), new: deployment(waiting, corev1.PullIfNotPresent, pinned("empty", waiting)),
			image: now1, policy: corev1.PullIfNotPresent, record: pinned("empty", now1), warns: "kubectl tag downgrade empty",
		},
		"a digest in place of the placeholder is taken": {
			old: deployment(waiting, corev1.PullIfNotPresent, pinned("empty", waiting)), new: deployment(old0, corev1.PullIfNotPresent, pinned("empty", old0)),
			image: old0, policy: corev1.PullIfNotPresent, record: pinned("empty", old0),
		},
		"a Tag that is away detaches nothing": {
			old: deployment(now1, corev1.PullIfNotPresent, pinned("away", now1)), new: deployment(old0, corev1.PullIfNotPresent, nil),
			image: now1, policy: corev1.PullIfNotPresent, record: pinned("away", now1), warns: "kubectl tag downgrade away",
		},
		"another image leaves the record, with the pull policy from before": {
			old: stored(), new: deployment("nginx:1.25", corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: "nginx:1.25", policy: corev1.PullAlways, warns: `no longer follows Tag "myapp": its image is now nginx:1.25`,
		},
		"a digest of another repository leaves the record": {
			old: stored(), new: deployment(foreign, corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: foreign, policy: corev1.PullAlways, warns: "no longer follows",
		},
		"the recorded digest in another repository is the recorded image": {
			old: stored(), new: deployment(corp(old0), corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: corp(old0), policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
		"so it is when the whole object was replaced": {
			old: stored(), new: deployment(corp(old0), corev1.PullIfNotPresent, nil),
			image: corp(old0), policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
		"a label on it changes nothing": {
			old: deployment(corp(old0), corev1.PullIfNotPresent, pinned("myapp", old0)), new: deployment(corp(old0), corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: corp(old0), policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
		"the name of the Tag keeps the image in the repository in which it is stored": {
			old: deployment(corp(old0), corev1.PullIfNotPresent, pinned("myapp", old0)), new: deployment("myapp", corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: corp(old0), policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
		"an undo in the repository in which the image is stored keeps it": {
			old: deployment(corp(now1), corev1.PullIfNotPresent, pinned("myapp", now1)), new: deployment(corp(old0), corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: corp(now1), policy: corev1.PullIfNotPresent, record: pinned("myapp", now1), warns: "kubectl tag downgrade myapp",
		},
		"a move that another webhook rewrote before the reinvocation follows": {
			old: stored(), new: deployment(corp(now1), corev1.PullIfNotPresent, pinned("myapp", now1)),
			image: corp(now1), policy: corev1.PullIfNotPresent, record: pinned("myapp", now1),
		},
		"a move stays on reinvocation": {
			old: stored(), new: deployment(now1, corev1.PullIfNotPresent, pinned("myapp", now1)),
			image: now1, policy: corev1.PullIfNotPresent, record: pinned("myapp", now1),
		},
		"a placeholder in another registry is the placeholder": {
			old: deployment(waiting, corev1.PullIfNotPresent, pinned("empty", waiting)), new: deployment("mirror.corp/"+waiting, corev1.PullIfNotPresent, pinned("empty", waiting)),
			image: "mirror.corp/" + waiting, policy: corev1.PullIfNotPresent, record: pinned("empty", waiting),
		},
		"a made-up record of the Tag's with another digest counts for nothing": {
			old: stored(), new: deployment(corp(foreign), corev1.PullIfNotPresent, pinned("myapp", foreign)),
			image: corp(foreign), policy: corev1.PullAlways, warns: "no longer follows",
		},
		"another image with a pull policy of its own keeps that": {
			old: stored(), new: deployment("nginx:1.25", corev1.PullNever, pinned("myapp", old0)),
			image: "nginx:1.25", policy: corev1.PullNever, warns: "no longer follows",
		},
		"the name of another Tag is pinned": {
			old: stored(), new: deployment("other", corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: other, policy: corev1.PullIfNotPresent, record: pinned("other", other),
		},
		"the name of another Tag of the same repository is pinned": {
			old: deployment(now1, corev1.PullIfNotPresent, pinned("myapp", now1)), new: deployment("stable", corev1.PullIfNotPresent, pinned("myapp", now1)),
			image: old0, policy: corev1.PullIfNotPresent, record: pinned("stable", old0),
		},
		"an undo of a switch between Tags follows the former one, as it is now": {
			old: deployment(other, corev1.PullIfNotPresent, pinned("other", other)), new: stored(),
			image: now1, policy: corev1.PullIfNotPresent, record: pinned("myapp", now1), warns: `keeps the image of Tag "myapp"`,
		},
		"an undo of a switch to a Tag that lost its imports keeps the digest": {
			old: deployment(other, corev1.PullIfNotPresent, pinned("other", other)), new: deployment(old0, corev1.PullIfNotPresent, pinned("empty", old0)),
			image: old0, policy: corev1.PullIfNotPresent, record: pinned("empty", old0),
		},
		"an undo of a switch to a Tag that has not moved follows it": {
			old: deployment(other, corev1.PullIfNotPresent, pinned("other", other)), new: deployment(now1, corev1.PullIfNotPresent, pinned("myapp", now1)),
			image: now1, policy: corev1.PullIfNotPresent, record: pinned("myapp", now1),
		},
		"a name without a Tag waits for that Tag": {
			old: stored(), new: deployment("nginx", corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: "not-imported.invalid/dev/nginx", policy: corev1.PullIfNotPresent, record: pinned("nginx", "not-imported.invalid/dev/nginx"), warns: "there is no such Tag",
		},
		"a name that stood there before its Tag stays": {
			old: deployment("myapp", corev1.PullAlways, nil), new: deployment("myapp", corev1.PullAlways, nil),
			image: "myapp", policy: corev1.PullAlways,
		},
		"an image that becomes a name is pinned": {
			old: deployment("nginx:1.25", corev1.PullIfNotPresent, nil), new: deployment("myapp", corev1.PullIfNotPresent, nil),
			image: now1, policy: corev1.PullIfNotPresent, record: pin.Record{"app": {Tag: "myapp", Image: now1}},
		},
		"a record that admission missed the end of is dropped": {
			old: deployment("nginx:1.25", corev1.PullIfNotPresent, pinned("myapp", old0)), new: deployment("nginx:1.25", corev1.PullIfNotPresent, pinned("myapp", old0)),
			image: "nginx:1.25", policy: corev1.PullIfNotPresent,
		},
		"an undo to a revision that followed a Tag follows it again": {
			old: deployment("nginx:1.25", corev1.PullAlways, nil), new: stored(),
			image: old0, policy: corev1.PullIfNotPresent, record: pinned("myapp", old0),
		},
	} {
		t.Run(name, r.run)
	}
}

func optedOut(d *appsv1.Deployment) *appsv1.Deployment {
	d.Annotations[v1.AnnotationEnabled] = "false"
	return d
}

func TestAdmitWithoutTheAnnotation(t *testing.T) {
	stored := func() *appsv1.Deployment { return deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0)) }
	for name, r := range map[string]row{
		"nothing is pinned": {
			new:   optedOut(deployment("myapp", corev1.PullAlways, nil)),
			image: "myapp", policy: corev1.PullAlways,
		},
		"a workload that opts out keeps its image": {
			old: stored(), new: optedOut(stored()),
			image: old0, policy: corev1.PullIfNotPresent, warns: "does not manage this workload's images",
		},
		"a workload that opts out with an image of docker.io gets the pull policy from before": {
			old: stored(), new: optedOut(deployment("nginx", corev1.PullIfNotPresent, nil)),
			image: "nginx", policy: corev1.PullAlways, warns: "does not manage this workload's images",
		},
		"a workload that opts out keeps the digest that another webhook rewrote": {
			old: stored(), new: optedOut(deployment(corp(old0), corev1.PullIfNotPresent, nil)),
			image: corp(old0), policy: corev1.PullIfNotPresent, warns: "does not manage this workload's images",
		},
		"a workload that opts out and names a digest gets that digest": {
			old: stored(), new: optedOut(deployment(now1, corev1.PullIfNotPresent, nil)),
			image: now1, policy: corev1.PullAlways, warns: "does not manage this workload's images",
		},
		"an undo to a revision from before the opt-in gets what was there": {
			old: stored(), new: optedOut(deployment("quay.io/company/myapp:1.0", corev1.PullIfNotPresent, nil)),
			image: "quay.io/company/myapp:1.0", policy: corev1.PullAlways, warns: "does not manage this workload's images",
		},
	} {
		t.Run(name, r.run)
	}
}

func TestAdmitCarriesOutRequests(t *testing.T) {
	for name, row := range map[string]struct {
		stored  *appsv1.Deployment
		request string
		trusted bool
		want    string
	}{
		"from Tagger as they are": {
			deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0)), pinned("myapp", foreign).Format(), true, foreign,
		},
		"from any other user after a lookup": {
			deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0)), pinned("myapp", foreign).Format(), false, now1,
		},
		"for a placeholder without a record": {
			deployment("not-imported.invalid/dev/myapp", corev1.PullIfNotPresent, nil), pinned("myapp", now1).Format(), true, now1,
		},
		"for a bare name": {
			deployment("myapp", corev1.PullAlways, nil), pinned("myapp", now1).Format(), true, now1,
		},
		"not for a container that follows another Tag by now": {
			deployment(other, corev1.PullIfNotPresent, pinned("other", other)), pinned("myapp", now1).Format(), true, other,
		},
		"not when they cannot be read": {
			deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0)), "{", true, old0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked := row.stored.DeepCopy()
			asked.Annotations[v1.AnnotationRequested] = row.request
			request := pin.Request{Old: workload(row.stored), New: workload(asked), Namespace: "dev", Trusted: row.trusted, Lookup: lookup, Fresh: lookup}
			if _, err := pin.Admit(request); err != nil {
				t.Fatal(err)
			}
			if row.trusted { // a reinvocation, since another webhook changed something after Tagger
				if _, err := pin.Admit(request); err != nil {
					t.Fatal(err)
				}
			}
			if got := asked.Spec.Template.Spec.Containers[0].Image; got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
			if _, left := asked.Annotations[v1.AnnotationRequested]; left {
				t.Error("the request is left in the object")
			}
		})
	}
}

func TestAdmit_RefusesOptOutWithName(t *testing.T) {
	for name, row := range map[string]struct {
		stored *appsv1.Deployment
		says   string
	}{
		"that is imported":  {deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0)), "write " + old0 + " instead, or keep the annotation"},
		"that is not":       {deployment(waiting, corev1.PullIfNotPresent, pinned("empty", waiting)), "write the full reference of an image instead"},
		"that was deleted":  {deployment(old0, corev1.PullIfNotPresent, pinned("away", old0)), "write " + old0 + " instead"},
		"rewritten by corp": {deployment(corp(old0), corev1.PullIfNotPresent, pinned("myapp", old0)), "write " + old0 + " instead"},
	} {
		t.Run(name, func(t *testing.T) {
			old := workload(row.stored)
			for _, value := range []string{"", "false"} {
				request := row.stored.DeepCopy()
				request.Annotations[v1.AnnotationEnabled] = value
				request.Spec.Template.Spec.Containers[0].Image = old.PinnedFields()[0].Entry.Tag
				renamed, added := request.DeepCopy(), request.DeepCopy()
				renamed.Spec.Template.Spec.Containers[0].Name = "renamed"
				added.Spec.Template.Spec.Containers = slices.Concat(row.stored.DeepCopy().Spec.Template.Spec.Containers, renamed.Spec.Template.Spec.Containers)
				for _, requested := range []*appsv1.Deployment{request, renamed, added} {
					_, err := pin.Admit(pin.Request{Old: old, New: workload(requested), Namespace: "dev", Lookup: lookup, Fresh: lookup})
					var refused *pin.RefusedError
					if !errors.As(err, &refused) || !strings.Contains(err.Error(), row.says) {
						t.Errorf("with the annotation %q and the containers %v: got %v, want %s", value, requested.Spec.Template.Spec.Containers, err, row.says)
					}
				}
			}
		})
	}
}

// everyKind returns the kinds of workloads with a container of that image.
func everyKind(image string) map[string]any {
	template := deployment(image, corev1.PullAlways, nil).Spec.Template
	onDelete := appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	return map[string]any{
		"a Deployment":                         &appsv1.Deployment{ObjectMeta: optedIn(), Spec: appsv1.DeploymentSpec{Template: *template.DeepCopy()}},
		"an ordered StatefulSet":               &appsv1.StatefulSet{ObjectMeta: optedIn(), Spec: appsv1.StatefulSetSpec{Template: *template.DeepCopy()}},
		"a DaemonSet":                          &appsv1.DaemonSet{ObjectMeta: optedIn(), Spec: appsv1.DaemonSetSpec{Template: *template.DeepCopy()}},
		"a DaemonSet that waits for deletions": &appsv1.DaemonSet{ObjectMeta: optedIn(), Spec: appsv1.DaemonSetSpec{Template: *template.DeepCopy(), UpdateStrategy: onDelete}},
		"a CronJob":                            &batchv1.CronJob{ObjectMeta: optedIn(), Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: *template.DeepCopy()}}}},
		"a Job":                                &batchv1.Job{ObjectMeta: optedIn(), Spec: batchv1.JobSpec{Template: *template.DeepCopy()}},
	}
}

func optedIn() metav1.ObjectMeta {
	return metav1.ObjectMeta{Annotations: map[string]string{v1.AnnotationEnabled: "true"}}
}

// TestABareNameIsATag tests DESIGN 4.5: for each kind, and for a missing, new or failing Tag.
func TestABareNameIsATag(t *testing.T) {
	for tag, reason := range map[string]string{
		"empty": "NotFound", "new": "the import is pending", "away": "there is no such Tag in namespace dev; the image of docker.io is written away:latest",
	} {
		for kind, object := range everyKind(tag) {
			t.Run(kind+" with the name "+tag, func(t *testing.T) {
				w, _ := pin.Of(object)
				_, err := pin.Admit(pin.Request{New: w, Namespace: "dev", Lookup: lookup, Fresh: lookup})
				if kind == "a Job" {
					var refused *pin.RefusedError
					if want := "Tag " + tag + " has no import yet (" + reason + "); apply again when it is Ready"; !errors.As(err, &refused) || err.Error() != want {
						t.Errorf("got %v, want %s", err, want)
					}
					return
				}
				if image := w.Pod.Containers[0].Image; err != nil || image != "not-imported.invalid/dev/"+tag {
					t.Errorf("got %s, %v", image, err)
				}
			})
		}
	}
}

// TestARenamedContainerKeepsItsRecord: its image stays, so kubectl edit sends the old record, and a PUT none.
func TestARenamedContainerKeepsItsRecord(t *testing.T) {
	for name, row := range map[string]struct {
		image string
		sent  pin.Record
		want  pin.Record
	}{
		"with the old record":                {old0, pinned("myapp", old0), pin.Record{"web": pinned("myapp", old0)["app"]}},
		"without one":                        {old0, nil, pin.Record{"web": pinned("myapp", old0)["app"]}},
		"rewritten by another webhook":       {corp(old0), nil, pin.Record{"web": pinned("myapp", old0)["app"]}},
		"not with another image":             {foreign, pinned("myapp", old0), nil},
		"not with another digest of the Tag": {now1, pinned("myapp", old0), nil},
	} {
		t.Run(name, func(t *testing.T) {
			renamed := deployment(row.image, corev1.PullIfNotPresent, row.sent)
			renamed.Spec.Template.Spec.Containers[0].Name = "web"
			request := pin.Request{
				Old: workload(deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0))), New: workload(renamed),
				Namespace: "dev", Lookup: lookup, Fresh: lookup,
			}
			for range 2 { // the second is a reinvocation
				if _, err := pin.Admit(request); err != nil {
					t.Fatal(err)
				}
				want := ""
				if row.want != nil {
					want = row.want.Format()
				}
				if got := renamed.Annotations[v1.AnnotationPinned]; got != want {
					t.Errorf("the record is %s, want %s", got, want)
				}
			}
		})
	}
}

func TestAdmit_RenameKeepsOtherRecords(t *testing.T) {
	added := deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0))
	added.Spec.Template.Spec.Containers = append(added.Spec.Template.Spec.Containers, corev1.Container{Name: "web", Image: old0})
	request := pin.Request{Old: workload(deployment(old0, corev1.PullIfNotPresent, pinned("myapp", old0))), New: workload(added), Namespace: "dev", Lookup: lookup, Fresh: lookup}
	if _, err := pin.Admit(request); err != nil {
		t.Fatal(err)
	}
	if got, want := added.Annotations[v1.AnnotationPinned], pinned("myapp", old0).Format(); got != want {
		t.Errorf("the record is %s, want %s", got, want)
	}
}

func TestImageVolumesArePinned(t *testing.T) {
	d := deployment("nginx:1", corev1.PullAlways, nil)
	d.Spec.Template.Spec.Volumes = []corev1.Volume{
		{Name: "config"},
		{Name: "app", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "myapp", PullPolicy: corev1.PullAlways}}},
	}
	if _, err := pin.Admit(pin.Request{New: workload(d), Namespace: "dev", Lookup: lookup, Fresh: lookup}); err != nil {
		t.Fatal(err)
	}
	want := pin.Record{"volume/app": {Tag: "myapp", Image: now1, PullPolicy: corev1.PullAlways}}.Format()
	if volume := d.Spec.Template.Spec.Volumes[1].Image; volume.Reference != now1 || volume.PullPolicy != corev1.PullIfNotPresent || d.Annotations[v1.AnnotationPinned] != want {
		t.Errorf("got %+v, the record %s", volume, d.Annotations[v1.AnnotationPinned])
	}
	d.Annotations[v1.AnnotationPinned] = pin.Record{"volume/app": {Tag: "myapp", Image: old0}}.Format()
	d.Spec.Template.Spec.Volumes[1].Image.Reference = old0
	wanted, err := pin.Wanted(workload(d), "dev", lookup)
	if err != nil || wanted["volume/app"].Image != now1 {
		t.Errorf("the controller wants %v, %v", wanted, err)
	}
}

func TestWarningsAreBounded(t *testing.T) {
	d := deployment("away", corev1.PullAlways, nil)
	for i := range 100 {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "away"})
	}
	warnings, err := pin.Admit(pin.Request{New: workload(d), Namespace: "dev", Lookup: lookup, Fresh: lookup})
	if err != nil || len(warnings) != 17 || !strings.Contains(warnings[16], "left out") {
		t.Errorf("got %d warnings, %v", len(warnings), err)
	}
}

// TestAdmit_AnnotationsAreBounded: larger ones are not parsed, and Tagger writes none that it would not read.
func TestAdmit_AnnotationsAreBounded(t *testing.T) {
	d := deployment("myapp", corev1.PullAlways, nil)
	for i := range 1000 {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "myapp"})
	}
	warnings, err := pin.Admit(pin.Request{New: workload(d), Namespace: "dev", Lookup: lookup, Fresh: lookup})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "the images are pinned, and do not follow their Tags: the record of 1001 of them would be larger than the 64 KiB") {
		t.Errorf("got %q, %v", warnings, err)
	}
	if _, written := d.Annotations[v1.AnnotationPinned]; written || d.Spec.Template.Spec.Containers[1000].Image != now1 {
		t.Errorf("the last image is %s, with a record: %v", d.Spec.Template.Spec.Containers[1000].Image, written)
	}

	small := deployment("myapp", corev1.PullAlways, nil)
	small.Annotations[v1.AnnotationRequested] = "{" + strings.Repeat(" ", pin.MaxAnnotation) + "}"
	warnings, err = pin.Admit(pin.Request{New: workload(small), Namespace: "dev", Lookup: lookup, Fresh: lookup})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "annotation images.io/requested is ignored: it has 65538 bytes; at most 65536 are read") {
		t.Errorf("got %q, %v", warnings, err)
	}
	if _, err := pin.ParseRecord("{" + strings.Repeat(" ", pin.MaxAnnotation-2) + "}"); err != nil {
		t.Error(err)
	}
}

// TestALargeWorkloadLeavesItsPlaceholders: its images are larger than one request's annotation.
func TestALargeWorkloadLeavesItsPlaceholders(t *testing.T) {
	d := deployment("empty", corev1.PullAlways, nil)
	for i := range 500 {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "empty"})
	}
	if _, err := pin.Admit(pin.Request{New: workload(d), Namespace: "dev", Lookup: lookup, Fresh: lookup}); err != nil {
		t.Fatal(err)
	}
	imported := func(string) (pin.Tag, bool, error) { return pin.Tag{Image: now1}, true, nil }
	for range 3 {
		wanted, err := pin.Wanted(workload(d), "dev", imported)
		if err != nil {
			t.Fatal(err)
		}
		old := d.DeepCopy()
		d.Annotations[v1.AnnotationRequested] = wanted.Fitting().Format()
		if _, err := pin.Admit(pin.Request{Old: workload(old), New: workload(d), Namespace: "dev", Trusted: true, Lookup: imported, Fresh: imported}); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range workload(d).ImageFields() {
		if *f.Image != now1 {
			t.Fatalf("%s has the image %s, want %s", f, *f.Image, now1)
		}
	}
}

func TestAdmitKeepsThePullPolicyWhereAsked(t *testing.T) {
	d := deployment("myapp", corev1.PullAlways, nil)
	d.Annotations[v1.AnnotationKeepPullPolicy] = "true"
	row{new: d, image: now1, policy: corev1.PullAlways, record: pin.Record{"app": {Tag: "myapp", Image: now1}}}.run(t)
}

func TestAdmitPinsInitContainers(t *testing.T) {
	d := deployment("nginx:1", corev1.PullAlways, nil)
	d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "myapp"}}
	if _, err := pin.Admit(pin.Request{New: workload(d), Namespace: "dev", Lookup: lookup, Fresh: lookup}); err != nil {
		t.Fatal(err)
	}
	if got := d.Spec.Template.Spec.InitContainers[0].Image; got != now1 {
		t.Errorf("got %s, want %s", got, now1)
	}
}

func TestWanted(t *testing.T) {
	for name, row := range map[string]struct {
		stored *appsv1.Deployment
		want   string
	}{
		"nothing where the Tag has not moved":                      {deployment(now1, "", pinned("myapp", now1)), ""},
		"the new image where it has":                               {deployment(old0, "", pinned("myapp", old0)), now1},
		"the image of a name that admission missed":                {deployment("myapp", "", nil), now1},
		"the placeholder for a name whose import is in progress":   {deployment("new", "", nil), "not-imported.invalid/dev/new"},
		"the placeholder for a name without a Tag":                 {deployment("nginx", "", nil), "not-imported.invalid/dev/nginx"},
		"nothing where another webhook rewrote the repository":     {deployment(corp(now1), "", pinned("myapp", now1)), ""},
		"the new image where it did before the Tag moved":          {deployment(corp(old0), "", pinned("myapp", old0)), now1},
		"the image in place of a placeholder that it rewrote":      {deployment("mirror.corp/dev/myapp", "", pinned("myapp", "not-imported.invalid/dev/myapp")), now1},
		"the placeholder for a name whose import failed":           {deployment("empty", "", nil), waiting},
		"the image in place of the placeholder":                    {deployment("not-imported.invalid/dev/myapp", "", pinned("myapp", "not-imported.invalid/dev/myapp")), now1},
		"the image in place of a placeholder without a record":     {deployment("not-imported.invalid/dev/myapp", "", nil), now1},
		"nothing for a placeholder of another namespace":           {deployment("not-imported.invalid/prod/myapp", "", nil), ""},
		"the recorded image for a name whose Tag lost its imports": {deployment("empty", "", pinned("empty", old0)), old0},
		"the recorded image for a name whose Tag is away":          {deployment("away", "", pinned("away", old0)), old0},
		"nothing of a Tag that is away":                            {deployment(old0, "", pinned("away", old0)), ""},
		"nothing of a Tag that lost its imports":                   {deployment(old0, "", pinned("empty", old0)), ""},
		"the image of an undo that admission missed":               {deployment(old0, "", pinned("myapp", now1)), now1},
		"nothing of a container that left and was not noticed":     {deployment("nginx:1", "", pinned("myapp", now1)), ""},
		"a record that is behind its image":                        {deployment(now1, "", pinned("myapp", old0)), now1},
	} {
		t.Run(name, func(t *testing.T) {
			wanted, err := pin.Wanted(workload(row.stored), "dev", lookup)
			if err != nil {
				t.Fatal(err)
			}
			if got := wanted["app"].Image; got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}
