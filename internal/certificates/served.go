package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Served is the certificate that this replica serves. The zero value has none yet.
type Served struct {
	mu      sync.RWMutex
	current *tls.Certificate
	problem error
	// since is when this replica first saw each authority in the caBundle of every webhook.
	since map[string]time.Time
}

var errNone = errors.New("no certificate yet")

// GetCertificate implements the callback of tls.Config.
func (s *Served) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.current == nil {
		return nil, errNone
	}
	return s.current, nil
}

// Ready returns why API servers would not accept the certificate, or nil.
func (s *Served) Ready(clock clock.PassiveClock) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.problem != nil {
		return s.problem
	}
	if s.current == nil {
		return errNone
	}
	if !clock.Now().Before(s.current.Leaf.NotAfter) {
		return errors.New("the certificate has expired")
	}
	return nil
}

// fail records why the certificate cannot be used.
func (s *Served) fail(problem error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = problem
}

// offer serves the candidate as soon as API servers accept it: when every webhook has trusted its authority for the time to
// settle. It returns how much of that time is left.
func (s *Served) offer(candidate *tls.Certificate, trust []*x509.Certificate, settle time.Duration, now time.Time) (wait time.Duration, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe(trust, now)
	authority := signerOf(candidate.Leaf, trust)
	if authority != nil && !s.serves(candidate) {
		wait = s.since[string(authority.Raw)].Add(settle).Sub(now)
		if wait <= 0 || s.hurry(authority, trust, now) {
			s.current, wait, changed = candidate, 0, true
		}
	}
	s.problem = nil
	if s.current == nil || !trusted(s.current.Leaf, trust, now) {
		s.problem = errors.New("the authority of the certificate is not in the caBundle of every webhook yet")
	}
	return wait, changed
}

// hurry reports that waiting does not help: API servers do not accept the current certificate, or the same authority signed it.
func (s *Served) hurry(authority *x509.Certificate, trust []*x509.Certificate, now time.Time) bool {
	return s.current == nil || !trusted(s.current.Leaf, trust, now) || signs(authority, s.current.Leaf)
}

// observe records which authorities are trusted since when. An authority that was removed and added again starts anew.
func (s *Served) observe(trust []*x509.Certificate, now time.Time) {
	since := make(map[string]time.Time, len(trust))
	for _, authority := range trust {
		key := string(authority.Raw)
		since[key] = now
		if seen, ok := s.since[key]; ok {
			since[key] = seen
		}
	}
	s.since = since
}

func (s *Served) serves(candidate *tls.Certificate) bool {
	return s.current != nil && s.current.Leaf.Equal(candidate.Leaf)
}

// signerOf returns the authority that signed a certificate, or nil.
func signerOf(certificate *x509.Certificate, authorities []*x509.Certificate) *x509.Certificate {
	if i := slices.IndexFunc(authorities, func(a *x509.Certificate) bool { return signs(a, certificate) }); i >= 0 {
		return authorities[i]
	}
	return nil
}
