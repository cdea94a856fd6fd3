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

// The keys of the Secret, besides tls.crt and tls.key of the type kubernetes.io/tls.
const (
	// AuthoritiesKey holds the trusted authorities, the one that signs first.
	AuthoritiesKey = corev1.ServiceAccountRootCAKey // ca.crt
	// SigningKeyKey holds the key of the first authority.
	SigningKeyKey = "ca.key"
)

// maxAuthorities bounds the trusted authorities, and so the Secret's size, whatever happens to the Secret within an overlap.
const maxAuthorities = 8

// Material is the usable content of the Secret.
type Material struct {
	// Authorities are trusted. The first one signs.
	Authorities []*x509.Certificate
	// Signer is the key of the first authority; nil if it is missing or belongs to another authority.
	Signer crypto.Signer
	// Serving is the certificate of the webhooks, Leaf included; nil if certificate and key do not match.
	Serving *tls.Certificate
}

// Parse reads the Secret's data. It leaves out what it cannot read, keys that do not match, and expired authorities.
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

// Data returns the data of the Secret.
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
		_ = pem.Encode(&chain, &pem.Block{Type: cert.CertificateBlockType, Bytes: der}) // writes to a buffer do not fail
	}
	return map[string][]byte{
		AuthoritiesKey: authorities, SigningKeyKey: signingKey, corev1.TLSCertKey: chain.Bytes(), corev1.TLSPrivateKeyKey: servingKey,
	}, nil
}

// bundle returns the content of a caBundle.
func bundle(authorities []*x509.Certificate) ([]byte, error) {
	encoded, err := cert.EncodeCertificates(authorities...)
	if err != nil {
		return nil, fmt.Errorf("encoding the authorities: %w", err)
	}
	return encoded, nil
}

// authoritiesIn returns the authorities of a bundle that are valid now. A bundle that is not PEM throughout has none.
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
