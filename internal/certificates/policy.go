package certificates

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"time"
)

// Policy sets the lifetime of certificates, and the time for API servers to learn of a new authority.
type Policy struct {
	// AuthorityLife and ServingLife count from the issue. Renewal is at two thirds of them, and up to a twentieth later.
	AuthorityLife, ServingLife time.Duration

	// Overlap is how long an authority is trusted before it signs a certificate, and how long the previous one stays trusted
	// afterwards. It is longer than any expected disconnection of a replica.
	Overlap time.Duration

	// Settle is how long the API servers have to load a changed caBundle where Overlap is not possible: after the loss of the
	// Secret, a new authority that no API server knows signs the certificate.
	Settle time.Duration
}

// Default is the policy of the manager.
var Default = Policy{
	AuthorityLife: 365 * 24 * time.Hour,
	ServingLife:   90 * 24 * time.Hour,
	Overlap:       time.Hour,
	Settle:        5 * time.Second,
}

// backdate is how long before its issue a certificate becomes valid, for clocks that are behind.
const backdate = time.Hour

// issued returns when Tagger issued a certificate, to the second.
func issued(certificate *x509.Certificate) time.Time { return certificate.NotBefore.Add(backdate) }

// due returns when to replace a certificate. The jitter comes from the certificate itself: all replicas compute the same time,
// and installations that one script made at once do not renew in the same minute.
func due(certificate *x509.Certificate) time.Time {
	life := certificate.NotAfter.Sub(issued(certificate))
	digest := sha256.Sum256(certificate.Raw)
	jitter := float64(binary.BigEndian.Uint32(digest[:])) / (1 << 32)
	return issued(certificate).Add(life*2/3 + time.Duration(jitter*float64(life)/20))
}
