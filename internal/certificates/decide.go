package certificates

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Step is one change of what the Secret holds.
type Step string

// The steps.
const (
	// Keep changes nothing.
	Keep Step = "Keep"
	// AddAuthority puts a new authority before the others, which stay trusted.
	AddAuthority Step = "AddAuthority"
	// SignServing signs a serving certificate with the first authority.
	SignServing Step = "SignServing"
	// RetireAuthorities takes all authorities but the first away.
	RetireAuthorities Step = "RetireAuthorities"
)

// Decision is what to do next, and why.
type Decision struct {
	Step   Step
	Reason string
	// Next is when Keep ends, if nothing changes before.
	Next time.Time
}

// Decide says what is to be done next with what the Secret holds, so that the names (DNS names and IP addresses) are served.
func (p Policy) Decide(m Material, names []string, now time.Time) Decision {
	if m.Signer == nil {
		return Decision{Step: AddAuthority, Reason: "there is no authority with its key"}
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
			return Decision{Step: RetireAuthorities, Reason: "nothing is signed by them any more"}
		}
		next = earlier(next, retire)
	}
	return Decision{Step: Keep, Next: next}
}

// renewal is when the serving certificate is to be replaced, and why.
func (p Policy) renewal(m Material) (at time.Time, reason string) {
	if signs(m.Authorities[0], m.Serving.Leaf) {
		return due(m.Serving.Leaf), "two thirds of the certificate's life are over"
	}
	return issued(m.Authorities[0]).Add(p.Overlap), "a newer authority is trusted by now"
}

// unservable says why the serving certificate cannot be used, if so.
func (m Material) unservable(names []string, now time.Time) string {
	if m.Serving == nil {
		return "there is no certificate with its key"
	}
	leaf := m.Serving.Leaf
	for _, name := range names {
		if !slices.Contains(hosts(leaf), name) {
			return fmt.Sprintf("the certificate is not for %s", name)
		}
	}
	if !trusted(leaf, m.Authorities, now) {
		return "the certificate has expired, or is of another authority"
	}
	return ""
}

// hosts are the names and addresses that a certificate is for.
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
