package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Installation names the objects that the Reconciler manages.
type Installation struct {
	// Secret holds the certificate. The Reconciler creates it if it is missing.
	Secret types.NamespacedName
	// Mutating and Validating are the webhook configurations, each with at least one webhook.
	Mutating, Validating string
}

// configurations returns empty objects with the names.
func (i Installation) configurations() []client.Object {
	return []client.Object{
		&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: i.Mutating}},
		&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: i.Validating}},
	}
}

// Reconciler keeps the Secret, the caBundles and the served certificate consistent, on every replica.
type Reconciler struct {
	Installation Installation
	Policy       Policy
	// Client reads a cache, and writes.
	Client client.Client
	// Live reads the API server: a replica with an old cache must not remove an authority from a caBundle.
	Live   client.Reader
	Served *Served
	Clock  clock.PassiveClock
}

// state holds the objects of one reconciliation.
type state struct {
	now            time.Time
	configurations []client.Object
	trust          []*x509.Certificate // the authorities in all caBundles, as this replica read them
	secret         *corev1.Secret
	material       Material
	next           time.Time
}

// Reconcile checks all objects. All events map to one request.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	s := &state{now: r.Clock.Now()}
	if err := r.read(ctx, s); err != nil {
		r.Served.fail(err)
		return ctrl.Result{}, client.IgnoreNotFound(err) // the watch reports the missing object
	}
	written, err := r.keep(ctx, s)
	if err != nil || written {
		return ctrl.Result{}, lostRace(err) // the watch reports the write, of this replica or another
	}
	if err := r.inject(ctx, s); err != nil {
		return ctrl.Result{}, lostRace(err)
	}
	wait := r.serve(ctx, s)
	return ctrl.Result{RequeueAfter: wait}, nil
}

// lostRace drops a conflict: another replica wrote first, and the watch reports that write.
func lostRace(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// read returns NotFound if a webhook configuration is missing. The Secret may be missing.
func (r *Reconciler) read(ctx context.Context, s *state) error {
	s.configurations = r.Installation.configurations()
	for _, configuration := range s.configurations {
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(configuration), configuration); err != nil {
			return fmt.Errorf("reading the webhook configuration: %w", err)
		}
	}
	s.trust = trustedByAll(s.configurations, s.now)
	s.secret = &corev1.Secret{Type: corev1.SecretTypeTLS}
	s.secret.Namespace, s.secret.Name = r.Installation.Secret.Namespace, r.Installation.Secret.Name
	if err := client.IgnoreNotFound(r.Client.Get(ctx, r.Installation.Secret, s.secret)); err != nil {
		return fmt.Errorf("reading the Secret of the certificate: %w", err)
	}
	return nil
}

// serve serves the certificate of the Secret once its authority is trusted, and returns when to check again.
func (r *Reconciler) serve(ctx context.Context, s *state) time.Duration {
	wait, changed := r.Served.offer(s.material.Serving, s.trust, r.Policy.Settle, s.now)
	if changed {
		log.FromContext(ctx).Info("certificate served", "expires", s.material.Serving.Leaf.NotAfter)
	}
	if wait > 0 {
		return wait
	}
	return max(s.next.Sub(s.now), time.Second) // a second is the resolution of a certificate's dates
}
