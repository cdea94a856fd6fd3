package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/images-io/tagger/api/v1"
)

// keep updates the Secret, and reports whether it wrote. If the authority or its key is lost, trusted authorities stay trusted
// for a while: replicas serve certificates that they signed.
func (r *Reconciler) keep(ctx context.Context, s *state) (written bool, err error) {
	before := Parse(s.secret.Data, s.now)
	if before.Signer == nil {
		before.Authorities = union(s.trust, before.Authorities)
	}
	var taken []Decision
	if s.material, taken, err = r.Policy.Advance(before, namesIn(s.configurations), s.now); err != nil {
		return false, fmt.Errorf("issuing a certificate: %w", err)
	}
	s.next = taken[len(taken)-1].Next
	if len(taken) == 1 {
		return false, nil
	}
	if err := r.write(ctx, s); err != nil {
		return false, fmt.Errorf("writing the Secret of the certificate: %w", err)
	}
	for _, decision := range taken[:len(taken)-1] {
		log.FromContext(ctx).Info("certificates changed", "step", decision.Step, "reason", decision.Reason)
	}
	return true, nil
}

// write creates the Secret, or updates exactly the version that was read.
func (r *Reconciler) write(ctx context.Context, s *state) error {
	data, err := s.material.Data()
	if err != nil {
		return err
	}
	if s.secret.Data == nil {
		s.secret.Data = map[string][]byte{}
	}
	maps.Copy(s.secret.Data, data)
	if s.secret.ResourceVersion == "" {
		return r.Client.Create(ctx, s.secret, client.FieldOwner(v1.FieldManager))
	}
	return r.Client.Update(ctx, s.secret, client.FieldOwner(v1.FieldManager))
}

func union(a, b []*x509.Certificate) []*x509.Certificate {
	all := slices.Clone(a)
	for _, certificate := range b {
		if !contains(all, certificate) {
			all = append(all, certificate)
		}
	}
	return all
}
