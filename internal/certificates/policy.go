package certificates

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"time"
)

// Policy says how long certificates live, and how long API servers have to learn of a new authority.
type Policy struct {
	// AuthorityLife and ServingLife are counted from the issue. At two thirds, and up to a twentieth more, comes the next.
	AuthorityLife, ServingLife time.Duration

	// Overlap is how long an authority is trusted before anything is signed by it, and how long the one before it is
	// trusted afterwards. It is longer than any replica is expected to be cut off.
	Overlap time.Duration

	// Settle is how long the API servers are given to take up a caBundle that was just changed, where Overlap cannot be
	// kept: when the Secret was lost, what is in it now is signed by an authority that no API server knew before.
	Settle time.Duration
}

// Default is the policy of the manager.
var Default = Policy{
	AuthorityLife: 365 * 24 * time.Hour,
	ServingLife:   90 * 24 * time.Hour,
	Overlap:       time.Hour,
	Settle:        5 * time.Second,
}

// backdate is how much earlier than its issue a certificate is valid, for clocks that are behind.
const backdate = time.Hour

// issued is when a certificate of ours was made, to the second.
func issued(certificate *x509.Certificate) time.Time { return certificate.NotBefore.Add(backdate) }

// due is when a certificate is to be replaced. The jitter comes from the certificate itself, so that all replicas agree on
// it, while installations that were made by the same script do not renew in the same minute.
func due(certificate *x509.Certificate) time.Time {
	life := certificate.NotAfter.Sub(issued(certificate))
	digest := sha256.Sum256(certificate.Raw)
	jitter := float64(binary.BigEndian.Uint32(digest[:])) / (1 << 32)
	return issued(certificate).Add(life*2/3 + time.Duration(jitter*float64(life)/20))
}
