package backstop

import (
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/internal/pin"
	"github.com/images-io/tagger/test/cluster"
)

const pinned = "quay.io/company/myapp@sha256:0000000000000000000000000000000000000000000000000000000000000000"

// TestWhileTheWebhookIsUnreachable makes the API server ignore Tagger's webhook, as under OLM, with the backstop on.
func TestWhileTheWebhookIsUnreachable(t *testing.T) {
	w := newWorld(t, "ignore")
	image := w.imported("myapp")
	w.backstopRefuses()
	t.Run("a workload that names a Tag is refused", w.creates)
	t.Run("each kind", w.eachKind)
	t.Run("a change to the name of a Tag is refused", func(t *testing.T) { w.updates(t, image) })
	t.Run("what is no change of an image goes on", w.goesOn)
}

// backstopRefuses waits until the API server rejects a Deployment that names a Tag.
func (w *world) backstopRefuses() {
	w.t.Helper()
	w.eventually("the backstop refuses", patience, func() error {
		return says(w.tries(workload("Deployment", "probe", runs("myapp"))), sentence("app=myapp"))
	})
}

// tries creates an object in a dry run.
func (w *world) tries(object client.Object) error {
	return w.api.Create(w.t.Context(), object, client.DryRunAll)
}

// TestFailurePolicyFail_OtherUsers uses config/default without changes, and no manager.
func TestFailurePolicyFail_OtherUsers(t *testing.T) {
	w := newWorld(t, "default")
	w.eventually("the webhook is asked", patience, func() error {
		return unless(w.tries(workload("Deployment", "probe")) != nil, "an annotated Deployment is admitted")
	})
	for kind := range kinds {
		object := workload(kind, "app", runs("myapp"), annotated(""))
		w.must(w.api.Create(t.Context(), object))
		w.must(w.changes(object, []func(pin.Workload){labelled}))
		w.must(w.api.Delete(t.Context(), object, client.PropagationPolicy(metav1.DeletePropagationForeground)))
		w.eventually(kind+" is gone", patience, func() error { return w.gone(object) })
	}
}

func (w *world) creates(t *testing.T) {
	w = w.in(t)
	for name, row := range map[string]struct {
		changes []func(pin.Workload)
		says    string
	}{
		"it names a Tag":                       {[]func(pin.Workload){runs("myapp")}, sentence("app=myapp")},
		"a second container names it":          {[]func(pin.Workload){beside("b", "myapp")}, sentence("b=myapp")},
		"an init container names it":           {[]func(pin.Workload){initialised("init", "myapp")}, sentence("init=myapp")},
		"three containers name it":             {[]func(pin.Workload){runs("myapp"), initialised("init", "myapp"), beside("b", "myapp")}, sentence("init=myapp", "app=myapp", "b=myapp")},
		"it is pinned already":                 {[]func(pin.Workload){runs(pinned)}, ""},
		"it names no Tag that exists":          {[]func(pin.Workload){runs("nginx")}, sentence("app=nginx")},
		"it runs an image of a registry":       {[]func(pin.Workload){runs("quay.io/company/myapp:1")}, ""},
		"its image has the Tag's name, tagged": {[]func(pin.Workload){runs("myapp:latest")}, ""},
		"its repository ends like the Tag":     {[]func(pin.Workload){runs("library/myapp")}, ""},
		"it has not opted in":                  {[]func(pin.Workload){runs("myapp"), annotated("")}, ""},
		"its annotation is not true":           {[]func(pin.Workload){runs("myapp"), annotated("yes")}, ""},
		"it lives in Tagger's own namespace":   {[]func(pin.Workload){runs("myapp"), in(cluster.Namespace)}, ""},
		"its namespace has no Tags":            {[]func(pin.Workload){runs("myapp"), in("kube-public")}, sentence("app=myapp")},
		"its image is no name of a Tag":        {[]func(pin.Workload){runs("my_app")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := says(w.tries(workload("Deployment", "app", row.changes...)), row.says); err != nil {
				t.Error(err)
			}
		})
	}
}

func in(namespace string) func(pin.Workload) {
	return func(w pin.Workload) { w.Meta.Namespace = namespace }
}

func (w *world) eachKind(t *testing.T) {
	w = w.in(t)
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			if err := says(w.tries(workload(kind, "app", runs("myapp"))), sentence("app=myapp")); err != nil {
				t.Error(err)
			}
			if err := says(w.tries(workload(kind, "app", initialised("init", "myapp"))), sentence("init=myapp")); err != nil {
				t.Error(err)
			}
			for _, image := range []string{pinned, "nginx:1", "quay.io/company/myapp:1"} {
				if err := w.tries(workload(kind, "app", runs(image))); err != nil {
					t.Error(err)
				}
			}
			if err := w.tries(workload(kind, "app", runs("myapp"), annotated(""))); err != nil {
				t.Error(err)
			}
		})
	}
}

// updates changes, in dry runs, a Deployment that Tagger pinned, and one that was stored with a name before it opted in.
func (w *world) updates(t *testing.T, image string) {
	w = w.in(t)
	following := workload("Deployment", "following", runs(image))
	named := workload("Deployment", "named", runs("myapp"), beside("b", "quay.io/company/b:1"), annotated(""))
	for _, object := range []client.Object{following, named} {
		w.must(w.api.Create(t.Context(), object))
	}
	w.must(w.changes(named, []func(pin.Workload){annotated("true")})) // "an update that leaves an image as it was passes"
	for name, row := range map[string]struct {
		object  client.Object
		changes []func(pin.Workload)
		says    string
	}{
		"its manifest is applied again":      {following, []func(pin.Workload){runs("myapp")}, sentence("app=myapp")},
		"it gets another digest":             {following, []func(pin.Workload){runs(pinned)}, ""},
		"it is labelled":                     {following, []func(pin.Workload){labelled}, ""},
		"a container that names one comes":   {following, []func(pin.Workload){beside("b", "myapp")}, sentence("b=myapp")},
		"a name that was there stays":        {named, []func(pin.Workload){labelled}, ""},
		"beside a name another image comes":  {named, []func(pin.Workload){other("quay.io/company/b:2")}, ""},
		"beside a name another name comes":   {named, []func(pin.Workload){other("myapp")}, sentence("app=myapp", "b=myapp")},
		"an init container takes a name too": {named, []func(pin.Workload){initialised("init", "myapp")}, sentence("init=myapp", "app=myapp")},
		"it opts out with the name":          {named, []func(pin.Workload){annotated("")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := says(w.changes(row.object, row.changes, client.DryRunAll), row.says); err != nil {
				t.Error(err)
			}
		})
	}
}

// changes patches a stored workload.
func (w *world) changes(object client.Object, changes []func(pin.Workload), options ...client.PatchOption) error {
	if err := w.get(object); err != nil {
		return err
	}
	changed := object.DeepCopyObject().(client.Object)
	change(changed, changes...)
	return w.api.Patch(w.t.Context(), changed, client.StrategicMergeFrom(object), options...)
}

// other sets the image of the second container.
func other(image string) func(pin.Workload) {
	return func(w pin.Workload) { w.Pod.Containers[1].Image = image }
}

// goesOn scales, reports a status, and deletes a Deployment that was stored with the name of a Tag.
func (w *world) goesOn(t *testing.T) {
	w = w.in(t)
	named := workload("Deployment", "deleted", runs("myapp"), annotated(""))
	named.SetFinalizers([]string{"example.com/hold"})
	w.must(w.api.Create(t.Context(), named))
	w.must(w.changes(named, []func(pin.Workload){annotated("true")}))

	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: named.GetName()}, Spec: autoscalingv1.ScaleSpec{Replicas: 2}}
	w.must(w.api.SubResource("scale").Update(t.Context(), named.DeepCopyObject().(client.Object), client.WithSubResourceBody(scale)))
	w.must(w.api.Delete(t.Context(), named, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	if err := says(w.changes(named, []func(pin.Workload){beside("c", "myapp")}, client.DryRunAll), ""); err != nil {
		t.Error("of one that is being deleted", err)
	}
	w.must(w.changes(named, []func(pin.Workload){func(w pin.Workload) { w.Meta.Finalizers = nil }}))
	w.eventually("it is gone", patience, func() error { return w.gone(named) })
}
