package transport

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"sync/atomic"

	"k8s.io/utils/clock"

	"github.com/images-io/tagger/internal/filewatch"
)

// CABundle are the CAs that certificates of registries are verified with: the system's, and those of a bundle in PEM. It
// is safe for concurrent use. The zero value is the system's.
type CABundle struct {
	filewatch.File
	pool atomic.Pointer[x509.CertPool]
}

// LoadCABundle reads the bundle at path; an empty path means none. Once Start runs, the file may change: one that is
// missing or malformed is then given to report, once, and the last good one stays in force. A nil clock means the system's.
func LoadCABundle(path string, report func(error), from clock.WithTicker) (*CABundle, error) {
	loaded := &CABundle{}
	if path == "" {
		return loaded, nil
	}
	loaded.Watch(path, loaded.apply, report, from)
	if _, err := loaded.Load(); err != nil {
		return nil, err
	}
	return loaded, nil
}

// roots returns the CAs, or nil where only the system's CAs count.
func (a *CABundle) roots() *x509.CertPool { return a.pool.Load() }

func (a *CABundle) apply(content []byte) (changed bool, err error) {
	if content == nil {
		return false, fmt.Errorf("the bundle of CAs %s: %w", a.Path, fs.ErrNotExist)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return false, fmt.Errorf("reading the system's CAs: %w", err)
	}
	if err := addAll(pool, content); err != nil {
		return false, fmt.Errorf("the bundle of CAs %s %w", a.Path, err)
	}
	a.pool.Store(pool)
	return true, nil
}

// addAll adds every certificate, or fails: half a bundle is one that is still being written.
func addAll(pool *x509.CertPool, bundle []byte) error {
	announced, count := bytes.Count(bundle, []byte("-----BEGIN CERTIFICATE-----")), 0
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("is malformed: %w", err)
		}
		pool.AddCert(certificate)
		count++
	}
	if count == 0 || count < announced {
		return fmt.Errorf("holds %d PEM certificates that can be read, and announces %d", count, announced)
	}
	return nil
}
