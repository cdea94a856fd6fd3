package backstop

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	backstopcontroller "github.com/images-io/tagger/controllers/backstop"
)

func policy() *admissionregistrationv1.ValidatingAdmissionPolicy {
	return &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: backstopcontroller.Name}}
}

func binding() *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: backstopcontroller.Name}}
}

func definition() *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: backstopcontroller.TagDefinition}}
}

func configuration() *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "tagger-mutating-webhook-configuration"}}
}

// made waits until the manager has created the policy and its binding, owned by the webhook configurations of these names.
func (w *world) made(owners ...string) {
	w.t.Helper()
	for _, object := range []client.Object{policy(), binding()} {
		w.eventually(fmt.Sprintf("a %T of %v", object, owners), patience, func() error {
			if err := w.get(object); err != nil {
				return err
			}
			var names []string
			for _, owner := range object.GetOwnerReferences() {
				names = append(names, owner.Name)
			}
			return unless(equality.Semantic.DeepEqual(names, owners), "it is owned by %v", names)
		})
	}
}

// takenAway waits until the policy and its binding are deleted.
func (w *world) takenAway() {
	w.t.Helper()
	w.eventually("no backstop", patience, func() error {
		if err := w.gone(binding()); err != nil {
			return err
		}
		return w.gone(policy())
	})
}

// allAdmitted creates workloads in dry runs, annotated and not. It returns an error if the backstop rejects one. A running
// manager rejects a Job whose Tag has no import.
func (w *world) allAdmitted() error {
	var problems []error
	for _, annotation := range []string{"true", ""} {
		for kind := range kinds {
			err := w.tries(workload(kind, "app", runs("myapp"), annotated(annotation)))
			if kind == "Job" && err != nil && strings.Contains(err.Error(), "has no import yet") {
				continue
			}
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// eventuallyAdmitted waits for the API server, which looks for changes of policies every second.
func (w *world) eventuallyAdmitted() {
	w.t.Helper()
	w.eventually("no request is rejected", patience, w.allAdmitted)
}

// TestManagedBackstop has an installation whose bundle cannot contain the policy: install, update, uninstall, and a restart of
// the API server in each of these states.
func TestManagedBackstop(t *testing.T) {
	w := newWorld(t, "olm")
	w.must(w.allAdmitted())
	w.imported("myapp") // with a manager that leaves the backstop to the installation
	w.must(w.gone(policy()))

	stop := w.manager("--backstop=managed")
	w.made(configuration().Name)
	stop()
	w.backstopRefuses()
	w.restart()
	w.backstopRefuses()

	t.Run("an update brings the new version's policy and owner, and does not end it", w.isUpdated)
	w.restart()
	w.backstopRefuses()
	t.Run("an uninstallation takes it away, though no manager runs", w.isUninstalled)
	w.restart()
	w.must(w.allAdmitted())
}

// isUpdated makes the steps of OLM: it creates the new version's webhook, starts its manager, and deletes the old version's
// webhook.
func (w *world) isUpdated(t *testing.T) {
	w = w.in(t)
	old := policy()
	w.must(w.get(old))
	older := old.DeepCopy()
	older.Spec.Validations[0].Message = "an older version's"
	older.Spec.Validations = append(older.Spec.Validations, admissionregistrationv1.Validation{Expression: "true"})
	w.must(w.api.Patch(t.Context(), older, client.MergeFrom(old), client.FieldOwner(v1.FieldManager)))
	first := configuration()
	w.must(w.get(first))
	next := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "zz-next-version"}, Webhooks: first.Webhooks}
	w.must(w.api.Create(t.Context(), next))
	defer w.manager("--backstop=managed")()
	w.made(first.Name, next.Name)
	now := policy()
	w.must(w.get(now))
	if !equality.Semantic.DeepEqual(now.Spec, old.Spec) || now.UID != old.UID {
		t.Errorf("the policy is %+v, want %+v", now.Spec, old.Spec)
	}
	w.must(w.api.Delete(t.Context(), first))
	w.made(next.Name)
	w.must(w.get(now))
	if now.UID != old.UID {
		t.Error("the policy was deleted and made again")
	}
}

// isUninstalled deletes the objects that OLM deletes with an operator, and then, as an administrator does, the definition.
func (w *world) isUninstalled(t *testing.T) {
	w = w.in(t)
	w.must(w.api.Delete(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "zz-next-version"}}))
	w.takenAway()
	w.eventuallyAdmitted()
	w.must(w.api.Delete(t.Context(), definition()))
	w.eventually("no definition", patience, func() error { return w.gone(definition()) })
	w.must(w.allAdmitted())
}

// in returns the world for a subtest.
func (w *world) in(t *testing.T) *world {
	inside := *w
	inside.t = t
	return &inside
}

func (w *world) restart() {
	w.t.Helper()
	w.must(w.cluster.RestartAPIServer(w.t.Context()))
}

// TestManagedBackstop_GoesBeforeTheCRD deletes the definition, and creates it again, while a manager runs.
func TestManagedBackstop_GoesBeforeTheCRD(t *testing.T) {
	w := newWorld(t, "olm")
	w.imported("myapp")
	w.manager("--backstop=managed")
	w.made(configuration().Name)
	w.finalizers(func(finalizers []string) []string { return append(finalizers, "example.com/hold") })
	w.must(w.api.Delete(t.Context(), definition()))
	w.takenAway()
	w.must(w.get(definition())) // so the policy was deleted first
	w.finalizers(func([]string) []string { return nil })
	w.eventually("no definition", patience, func() error { return w.gone(definition()) })
	w.must(w.allAdmitted())

	w.install("olm")
	w.made(configuration().Name)
}

// finalizers changes the finalizers of the definition, which the API server changes, too.
func (w *world) finalizers(change func([]string) []string) {
	w.t.Helper()
	w.eventually("other finalizers", patience, func() error {
		held := definition()
		if err := w.get(held); err != nil {
			return err
		}
		held.Finalizers = change(held.Finalizers)
		return w.api.Update(w.t.Context(), held)
	})
}

// TestManagedBackstop_Off also deletes the policy while the flag is managed.
func TestManagedBackstop_Off(t *testing.T) {
	w := newWorld(t, "olm")
	stop := w.manager("--backstop=managed")
	w.made(configuration().Name)
	w.must(w.api.Delete(t.Context(), binding()))
	w.must(w.api.Delete(t.Context(), policy()))
	w.made(configuration().Name)
	stop()
	w.manager("--backstop=off")
	w.takenAway()
}

// TestTheInstalledBackstop: a manager that creates and deletes its own policy does not touch the installed one, which is equal.
func TestTheInstalledBackstop(t *testing.T) {
	w := newWorld(t, "ignore")
	installed, bound := policy(), binding()
	w.must(w.get(installed))
	w.must(w.get(bound))

	t.Run("a manager without the permissions says so once, and goes on", func(t *testing.T) {
		w := w.in(t)
		const sentence = "missing permissions, not managing the backstop policy"
		before := w.said(sentence)
		w.imported("myapp", "--backstop=managed")
		if n := w.said(sentence) - before; n != 1 {
			t.Errorf("it says so %d times", n)
		}
	})
	w.install("olm") // which adds the manager's permissions, and deletes nothing
	for _, value := range []string{"managed", "off"} {
		t.Run("a manager leaves it alone, "+value, func(t *testing.T) {
			const sentence = "part of the installation, not managing it"
			w := w.in(t)
			before := w.said(sentence)
			defer w.manager("--backstop=" + value)()
			w.eventually("the manager looks", patience, func() error { return unless(w.said(sentence) > before, "it has not") })
			w.isTheSame(installed)
			w.isTheSame(bound)
		})
	}
	t.Run("what the manager makes is the same", func(t *testing.T) {
		w := w.in(t)
		w.must(w.api.Delete(t.Context(), binding()))
		w.must(w.api.Delete(t.Context(), policy()))
		defer w.manager("--backstop=managed")()
		w.made(configuration().Name)
		made, madeBinding := policy(), binding()
		w.must(w.get(made))
		w.must(w.get(madeBinding))
		if !equality.Semantic.DeepEqual(made.Spec, installed.Spec) || !equality.Semantic.DeepEqual(madeBinding.Spec, bound.Spec) {
			t.Errorf("it is\n%+v\n%+v, want\n%+v\n%+v", made.Spec, madeBinding.Spec, installed.Spec, bound.Spec)
		}
	})
}

// isTheSame fails the test if an object was changed or created again. It ignores the status.
func (w *world) isTheSame(object client.Object) {
	w.t.Helper()
	uid, generation := object.GetUID(), object.GetGeneration()
	w.must(w.get(object))
	if object.GetUID() != uid || object.GetGeneration() != generation || len(object.GetOwnerReferences()) > 0 {
		w.t.Errorf("%T changed: %+v", object, object)
	}
}

// TestInstalledBackstop_WithoutTheCRD: the policy rejects opted-in workloads, and no others, before the definition of Tags
// exists, after its deletion, and when the API server starts without it.
func TestInstalledBackstop_WithoutTheCRD(t *testing.T) {
	w := newWorld(t, "ignore")
	w.imported("myapp")
	w.backstopRefuses()
	w.must(w.api.Delete(t.Context(), definition()))
	w.eventually("no definition", patience, func() error { return w.gone(definition()) })
	w.refusesOptedInOnly()
	w.restart()
	w.refusesOptedInOnly()
	w.install("ignore")
	w.imported("myapp")
	w.refusesOptedInOnly()
}

// refusesOptedInOnly waits until the backstop rejects a bare name, and fails if it rejects a workload that did not opt in.
func (w *world) refusesOptedInOnly() {
	w.t.Helper()
	w.backstopRefuses()
	for kind := range kinds {
		w.must(w.tries(workload(kind, "app", runs("myapp"), annotated(""))))
	}
}
