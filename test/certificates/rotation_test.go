package certificates

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/images-io/tagger/internal/certificates"
)

// rounds is the number of rotations under load.
const rounds = 2

// TestRotationUnderLoad rotates certificate and authority, again and again, during 200 admission requests a second, one of them
// not a dry run, and 50 calls a second to each replica by a client that trusts the caBundle. None of them fails.
func TestRotationUnderLoad(t *testing.T) {
	want := imported(t)
	inStep(t)
	load := startLoad(t, want)
	calls := startCalls(t)
	for range rounds {
		renewServing(t)
		replaceAuthority(t)
		loseSecret(t)
	}
	swapAuthority(t)
	calls.stop()
	load.stop()
	t.Logf("%d admissions, %.0f a second, and %d handshakes during %d changes of what is served", load.done.Load(), load.rate(), calls.done.Load(), 3*rounds+1)
	for _, failed := range []*failures{&load.failures, &calls.failures} {
		if count, first := failed.all(); count > 0 {
			t.Errorf("%d failed, such as: %v", count, first)
		}
	}
	if load.rate() < admissionsPerSecond/4 || load.done.Load() >= maxAdmissions || calls.done.Load() < 100 {
		t.Error("there was no load to speak of, or not to the end") // a busy machine may give a quarter of it
	}
}

// renewServing makes two thirds of the serving certificate's life pass.
func renewServing(t *testing.T) {
	t.Helper()
	ageServing(t, certificates.Default.ServingLife*3/4)
	old := material(t).Serving.Leaf
	if old.NotAfter.After(time.Now().Add(certificates.Default.ServingLife / 2)) {
		old = nil // it has been renewed
	}
	changed(t, "the renewed certificate", func(now *x509.Certificate) error {
		if old != nil && now.Equal(old) {
			return errors.New("it is the old one")
		}
		return nil
	})
}

// replaceAuthority makes two thirds of the authority's life pass, then an overlap, then another.
func replaceAuthority(t *testing.T) {
	t.Helper()
	old := material(t)
	ageAuthority(t, certificates.Default.AuthorityLife*3/4)
	authorities(t, len(old.Authorities)+1)
	added := material(t).Authorities[0]
	if err := old.Serving.Leaf.CheckSignatureFrom(added); err == nil {
		t.Fatal("the authority is not a new one")
	}
	changed(t, "the old certificate, while the new authority gets known", func(now *x509.Certificate) error {
		if !now.Equal(old.Serving.Leaf) {
			return errors.New("it is another")
		}
		return nil
	})
	ageAuthority(t, certificates.Default.Overlap)
	changed(t, "a certificate of the new authority", func(now *x509.Certificate) error { return now.CheckSignatureFrom(added) })
	ageServing(t, certificates.Default.Overlap)
	authorities(t, 1)
}

// loseSecret deletes the Secret while replicas serve the lost certificate.
func loseSecret(t *testing.T) {
	t.Helper()
	old := material(t)
	deleteSecret(t)
	changed(t, "a certificate of another authority", notSignedBy(old.Authorities[0]))
}

// swapAuthority replaces the authority of the served certificate by another one: replicas keep serving the certificate, which
// is still trusted, and API servers learn a new authority.
func swapAuthority(t *testing.T) {
	t.Helper()
	old, other := material(t), foreign(t)
	edit(t, func(data map[string][]byte) { data[certificates.AuthoritiesKey] = other[certificates.AuthoritiesKey] })
	changed(t, "the old certificate, with the key of a new authority", func(now *x509.Certificate) error {
		m := material(t)
		if m.Signer == nil || m.Authorities[0].Equal(old.Authorities[0]) || !now.Equal(old.Serving.Leaf) {
			return errors.New("the authority is not a new one, or what is served is not the old")
		}
		return nil
	})
}

func notSignedBy(authority *x509.Certificate) func(*x509.Certificate) error {
	return func(now *x509.Certificate) error {
		if err := now.CheckSignatureFrom(authority); err == nil {
			return errors.New("it is the old authority's")
		}
		return nil
	}
}

// changed waits until all agree, and the served certificate is as wanted.
func changed(t *testing.T, what string, wanted func(now *x509.Certificate) error) {
	t.Helper()
	began := time.Now()
	eventually(t, what, func() error {
		if err := agree(t.Context()); err != nil {
			return err
		}
		served, err := world.replicas[0].served()
		if err != nil {
			return err
		}
		return wanted(served)
	})
	t.Logf("%s is served after %s", what, time.Since(began).Round(time.Millisecond))
}

// authorities waits until all trust so many authorities.
func authorities(t *testing.T, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d authorities", want), func() error {
		if err := agree(t.Context()); err != nil {
			return err
		}
		secret, err := secret(context.WithoutCancel(t.Context()))
		if err != nil {
			return err
		}
		if m := certificates.Parse(secret.Data, time.Now()); len(m.Authorities) != want {
			return fmt.Errorf("there are %d", len(m.Authorities))
		}
		return nil
	})
}
