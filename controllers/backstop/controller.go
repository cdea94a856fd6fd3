package backstop

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
)

const (
	// Name is the name of the policy and of its binding, the same as in config/default.
	Name = "tagger-backstop"

	// TagDefinition is the name of the definition of Tags, which are the policy's parameters.
	TagDefinition = "tags.images.io"

	// pinnerWebhook is the webhook that the backstop stands behind. OLM names its configuration as it likes.
	pinnerWebhook = "pin.workloads.images.io"
)

// Reconciler makes the backstop where the installation cannot carry it: an admission policy that refuses an
// annotated workload that would store the name of a Tag. It is there while Tags are served and the webhook is
// configured; the configuration owns it, so that it goes with the installation and outlives updates (docs/adr/0009).
// One that it did not make it leaves alone.
type Reconciler struct {
	Client client.Client
	// Manifest is the policy and its binding, two YAML documents.
	Manifest []byte
	// Namespace is Tagger's own, which the policy leaves out.
	Namespace string
	// Off deletes the backstop that a manager created.
	Off bool
}

// SetupWithManager makes the manager call Reconcile when the backstop, or what it depends on, changes. Without the
// permissions it says so, and the manager goes on without a backstop.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	missing, err := missingPermissions(ctx, r.Client)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		mgr.GetLogger().WithName("backstop").Error(nil, "missing permissions, not managing the backstop policy", "missing", missing)
		return nil
	}
	always := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []ctrl.Request {
		return []ctrl.Request{{NamespacedName: types.NamespacedName{Name: Name}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("backstop").
		Watches(&admissionregistrationv1.ValidatingAdmissionPolicy{}, always).
		Watches(&admissionregistrationv1.ValidatingAdmissionPolicyBinding{}, always).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, always).
		Watches(&apiextensionsv1.CustomResourceDefinition{}, always).
		Complete(r)
}

// Reconcile creates the backstop, or deletes it.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	made, installed, err := r.find(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	if installed {
		log.FromContext(ctx).Info("the backstop policy is part of the installation, not managing it", "name", Name)
		return ctrl.Result{}, nil
	}
	served, err := r.tagsAreServed(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	owners, err := r.owners(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	if r.Off || !served || len(owners) == 0 {
		return ctrl.Result{}, r.remove(ctx, made)
	}
	if len(made) == 0 {
		log.FromContext(ctx).Info("creating the backstop policy", "name", Name)
	}
	return ctrl.Result{}, r.apply(ctx, owners)
}

// find returns the objects that a manager made, and whether there is one that it did not make.
func (r *Reconciler) find(ctx context.Context) (made []client.Object, installed bool, err error) {
	objects := []client.Object{&admissionregistrationv1.ValidatingAdmissionPolicyBinding{}, &admissionregistrationv1.ValidatingAdmissionPolicy{}}
	for _, object := range objects {
		err := r.Client.Get(ctx, types.NamespacedName{Name: Name}, object)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, false, fmt.Errorf("reading the backstop: %w", err)
		case object.GetLabels()[labelManagedBy] == v1.FieldManager:
			made = append(made, object)
		default:
			installed = true
		}
	}
	return made, installed, nil
}

// tagsAreServed says whether the definition of Tags is established, and stays. A policy whose parameters are not served
// is an error at every workload of the cluster.
func (r *Reconciler) tagsAreServed(ctx context.Context) (bool, error) {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := r.Client.Get(ctx, types.NamespacedName{Name: TagDefinition}, &definition); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	for _, condition := range definition.Status.Conditions {
		if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
			return definition.DeletionTimestamp.IsZero(), nil
		}
	}
	return false, nil
}

// owners returns the configurations of the webhook. During an update by OLM there are two, the old version's and the new one's.
// The cache lists in any order; in another order they would be another object, and applied again.
func (r *Reconciler) owners(ctx context.Context) ([]metav1.OwnerReference, error) {
	var configurations admissionregistrationv1.MutatingWebhookConfigurationList
	if err := r.Client.List(ctx, &configurations); err != nil {
		return nil, fmt.Errorf("listing the webhooks: %w", err)
	}
	var owners []metav1.OwnerReference
	for i := range configurations.Items {
		if c := &configurations.Items[i]; c.DeletionTimestamp.IsZero() && hasPinner(c) {
			kind := admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingWebhookConfiguration")
			owners = append(owners, metav1.OwnerReference{APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Name: c.Name, UID: c.UID})
		}
	}
	slices.SortFunc(owners, func(a, b metav1.OwnerReference) int { return strings.Compare(a.Name, b.Name) })
	return owners, nil
}

func hasPinner(configuration *admissionregistrationv1.MutatingWebhookConfiguration) bool {
	for i := range configuration.Webhooks {
		if configuration.Webhooks[i].Name == pinnerWebhook {
			return true
		}
	}
	return false
}

// remove deletes the objects that a manager created, the binding first.
func (r *Reconciler) remove(ctx context.Context, made []client.Object) error {
	for _, object := range made {
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, object)); err != nil {
			return fmt.Errorf("deleting the backstop policy: %w", err)
		}
		log.FromContext(ctx).Info("deleted an object of the backstop policy", "object", fmt.Sprintf("%T", object))
	}
	return nil
}

// apply creates or updates the backstop to that of this version.
func (r *Reconciler) apply(ctx context.Context, owners []metav1.OwnerReference) error {
	objects, err := parseManifests(r.Manifest, r.Namespace, owners)
	if err != nil {
		return err
	}
	for _, object := range objects {
		configuration := client.ApplyConfigurationFromUnstructured(object)
		if err := r.Client.Apply(ctx, configuration, client.FieldOwner(v1.FieldManager), client.ForceOwnership); err != nil {
			return fmt.Errorf("applying the %s of the backstop: %w", object.GetKind(), err)
		}
	}
	return nil
}
