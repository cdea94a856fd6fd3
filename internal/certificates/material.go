package certificates

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// The keys of the Secret, beside tls.crt and tls.key of the type kubernetes.io/tls.
const (
	// AuthoritiesKey holds the authorities that are trusted, the one that signs first.
	AuthoritiesKey = corev1.ServiceAccountRootCAKey // ca.crt
	// SigningKeyKey holds the key of the first authority.
	SigningKeyKey = "ca.key"
)

// maxAuthorities bounds what is trusted, and the Secret's size, whatever happens to the Secret within an overlap.
const maxAuthorities = 8

// Material is what the Secret holds, as far as it is of any use.
type Material struct {
	// Authorities are trusted. The first one signs.
	Authorities []*x509.Certificate
	// Signer is the key of the first authority; nil where there is none, or that of another.
	Signer crypto.Signer
	// Serving is what the webhooks are served with, Leaf included; nil where certificate and key make no pair.
	Serving *tls.Certificate
}

// Parse reads the Secret's data. What cannot be read, does not belong together or is no authority any more is left out.
func Parse(data map[string][]byte, now time.Time) Material {
	m := Material{Authorities: authoritiesIn(data[AuthoritiesKey], now)}
	if key, err := keyutil.ParsePrivateKeyPEM(data[SigningKeyKey]); err == nil && len(m.Authorities) > 0 {
		if signer, ok := key.(crypto.Signer); ok && belongs(signer, m.Authorities[0]) {
			m.Signer = signer
		}
	}
	if pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey]); err == nil {
		m.Serving = &pair
	}
	return m
}

// Data is the Secret's data.
func (m Material) Data() (map[string][]byte, error) {
	authorities, err := bundle(m.Authorities)
	if err != nil {
		return nil, err
	}
	signingKey, err := encodeKey(m.Signer)
	if err != nil {
		return nil, err
	}
	servingKey, err := encodeKey(m.Serving.PrivateKey)
	if err != nil {
		return nil, err
	}
	var chain bytes.Buffer
	for _, der := range m.Serving.Certificate {
		_ = pem.Encode(&chain, &pem.Block{Type: cert.CertificateBlockType, Bytes: der}) // a buffer takes everything
	}
	return map[string][]byte{
		AuthoritiesKey: authorities, SigningKeyKey: signingKey, corev1.TLSCertKey: chain.Bytes(), corev1.TLSPrivateKeyKey: servingKey,
	}, nil
}

// bundle is what a caBundle holds.
func bundle(authorities []*x509.Certificate) ([]byte, error) {
	encoded, err := cert.EncodeCertificates(authorities...)
	if err != nil {
		return nil, fmt.Errorf("encoding the authorities: %w", err)
	}
	return encoded, nil
}

// authoritiesIn are the authorities of a bundle that are valid now. A bundle that is not PEM throughout has none.
func authoritiesIn(encoded []byte, now time.Time) []*x509.Certificate {
	certificates, err := cert.ParseCertsPEM(encoded)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(certificates, func(c *x509.Certificate) bool {
		return !c.IsCA || now.Before(c.NotBefore) || !now.Before(c.NotAfter)
	})
}

func belongs(signer crypto.Signer, authority *x509.Certificate) bool {
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(authority.PublicKey)
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyutil.PrivateKeyBlockType, Bytes: der}), nil
}
