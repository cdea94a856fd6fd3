package certificates

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Step is one change of the Secret.
type Step string

// The steps.
const (
	// Keep changes nothing.
	Keep Step = "Keep"
	// AddAuthority puts a new authority before the others, which stay trusted.
	AddAuthority Step = "AddAuthority"
	// SignServing signs a serving certificate with the first authority.
	SignServing Step = "SignServing"
	// RetireAuthorities removes all authorities but the first.
	RetireAuthorities Step = "RetireAuthorities"
)

// Decision is the next step, and the reason for it.
type Decision struct {
	Step   Step
	Reason string
	// Next is when to decide again after Keep, if nothing changes before.
	Next time.Time
}

// Decide returns the next step for the Secret, so that the names (DNS names and IP addresses) have a certificate.
func (p Policy) Decide(m Material, names []string, now time.Time) Decision {
	if m.Signer == nil {
		return Decision{Step: AddAuthority, Reason: "the authority or its key is missing"}
	}
	if reason := m.unservable(names, now); reason != "" {
		return Decision{Step: SignServing, Reason: reason}
	}
	replace := due(m.Authorities[0])
	if !now.Before(replace) {
		return Decision{Step: AddAuthority, Reason: "two thirds of the authority's life are over"}
	}
	renew, reason := p.renewal(m)
	if !now.Before(renew) {
		return Decision{Step: SignServing, Reason: reason}
	}
	next := earlier(replace, renew)
	if len(m.Authorities) > 1 && signs(m.Authorities[0], m.Serving.Leaf) {
		retire := issued(m.Serving.Leaf).Add(p.Overlap)
		if !now.Before(retire) {
			return Decision{Step: RetireAuthorities, Reason: "no certificate in use is signed by them"}
		}
		next = earlier(next, retire)
	}
	return Decision{Step: Keep, Next: next}
}

// renewal returns when to replace the serving certificate, and the reason.
func (p Policy) renewal(m Material) (at time.Time, reason string) {
	if signs(m.Authorities[0], m.Serving.Leaf) {
		return due(m.Serving.Leaf), "two thirds of the certificate's life are over"
	}
	return issued(m.Authorities[0]).Add(p.Overlap), "a newer authority is trusted by now"
}

// unservable returns why the serving certificate cannot be used, or nothing.
func (m Material) unservable(names []string, now time.Time) string {
	if m.Serving == nil {
		return "the certificate or its key is missing"
	}
	leaf := m.Serving.Leaf
	for _, name := range names {
		if !slices.Contains(hosts(leaf), name) {
			return fmt.Sprintf("the certificate is not for %s", name)
		}
	}
	if !trusted(leaf, m.Authorities, now) {
		return "the certificate has expired, or another authority signed it"
	}
	return ""
}

// hosts returns the names and addresses of a certificate.
func hosts(certificate *x509.Certificate) []string {
	hosts := slices.Clone(certificate.DNSNames)
	for _, address := range certificate.IPAddresses {
		hosts = append(hosts, address.String())
	}
	return hosts
}

// trusted reports whether a client that trusts the authorities accepts the certificate of a server.
func trusted(certificate *x509.Certificate, authorities []*x509.Certificate, now time.Time) bool {
	roots := x509.NewCertPool()
	for _, authority := range authorities {
		roots.AddCert(authority)
	}
	_, err := certificate.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now})
	return err == nil
}

func signs(authority, certificate *x509.Certificate) bool {
	return certificate.CheckSignatureFrom(authority) == nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
