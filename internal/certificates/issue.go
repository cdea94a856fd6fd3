package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"time"
)

// maxSteps is the number of steps from an empty Secret to a complete one.
const maxSteps = 3

// Advance takes the steps of Decide until it returns Keep. It returns the steps, Keep the last.
func (p Policy) Advance(m Material, names []string, now time.Time) (Material, []Decision, error) {
	var taken []Decision
	for range maxSteps + 1 {
		decision := p.Decide(m, names, now)
		taken = append(taken, decision)
		if decision.Step == Keep {
			return m, taken, nil
		}
		var err error
		if m, err = p.take(decision.Step, m, names, now); err != nil {
			return m, taken, err
		}
	}
	return m, taken, fmt.Errorf("the new certificate cannot be used: %s", taken[len(taken)-1].Reason)
}

func (p Policy) take(step Step, m Material, names []string, now time.Time) (Material, error) {
	switch step {
	case AddAuthority:
		return p.addAuthority(m, now)
	case SignServing:
		return p.signServing(m, names, now)
	case RetireAuthorities:
		m.Authorities = m.Authorities[:1]
	}
	return m, nil
}

// addAuthority puts a new authority before the others. It drops the key of the previous one, which signs no further
// certificates; those that it signed stay trusted.
func (p Policy) addAuthority(m Material, now time.Time) (Material, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("tagger-webhook-ca@%d", now.Unix())},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(p.AuthorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs servers and no further authorities
	}
	key, err := newKey()
	if err != nil {
		return m, err
	}
	authority, err := sign(template, template, key.Public(), key)
	if err != nil {
		return m, err
	}
	authorities := append([]*x509.Certificate{authority}, m.Authorities...)
	m.Authorities, m.Signer = authorities[:min(len(authorities), maxAuthorities)], key
	return m, nil
}

// signServing signs a certificate for the names. The certificate expires with its authority or before.
func (p Policy) signServing(m Material, names []string, now time.Time) (Material, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: fmt.Sprintf("tagger-webhook@%d", now.Unix())},
		NotBefore:   now.Add(-backdate),
		NotAfter:    earlier(now.Add(p.ServingLife), m.Authorities[0].NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key, err := newKey()
	if err != nil {
		return m, err
	}
	leaf, err := sign(template, m.Authorities[0], key.Public(), m.Signer)
	if err != nil {
		return m, err
	}
	m.Serving = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	return m, nil
}

func newKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	return key, nil
}

// sign sets a random serial number (RFC 5280, 4.1.2.2) and signs the certificate.
func sign(template, authority *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, authority, public, signer)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
