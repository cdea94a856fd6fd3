package certificates

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
)

// inject writes the authorities into every caBundle that differs from them.
func (r *Reconciler) inject(ctx context.Context, s *state) error {
	wanted, err := bundle(s.material.Authorities)
	if err != nil {
		return err
	}
	for _, configuration := range s.configurations {
		if !differs(configuration, wanted) {
			continue
		}
		if err := r.unchanged(ctx, s.secret); err != nil {
			return err
		}
		if err := r.trust(ctx, configuration, wanted); err != nil {
			return fmt.Errorf("writing the caBundle of %s: %w", configuration.GetName(), err)
		}
	}
	return nil
}

func differs(configuration client.Object, wanted []byte) bool {
	for _, config := range clients(configuration) {
		if !bytes.Equal(config.CABundle, wanted) {
			return true
		}
	}
	return false
}

// unchanged returns a conflict if the Secret differs from the one in the cache.
func (r *Reconciler) unchanged(ctx context.Context, secret *corev1.Secret) error {
	var live corev1.Secret
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(secret), &live); err != nil {
		return fmt.Errorf("reading the Secret of the certificate: %w", err)
	}
	if live.ResourceVersion != secret.ResourceVersion {
		return apierrors.NewConflict(corev1.Resource("secrets"), secret.Name, errors.New("the cache has an older version"))
	}
	return nil
}

func (r *Reconciler) trust(ctx context.Context, configuration client.Object, wanted []byte) error {
	changed := configuration.DeepCopyObject().(client.Object)
	for _, config := range clients(changed) {
		config.CABundle = wanted
	}
	patch := client.MergeFromWithOptions(configuration, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, changed, patch, client.FieldOwner(v1.FieldManager)); err != nil {
		return err
	}
	log.FromContext(ctx).Info("caBundle written", "configuration", configuration.GetName())
	return nil
}
