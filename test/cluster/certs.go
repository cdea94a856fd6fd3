package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/cert"
)

// ServingCert is a temporary certificate for loopback, valid for a year, in tls.crt and tls.key of Dir.
type ServingCert struct {
	// Dir holds tls.crt and tls.key.
	Dir string

	// CA is the authority that clients have to trust, PEM.
	CA []byte
}

// NewServingCert issues a certificate for 127.0.0.1 and localhost, with a new authority whose key it drops.
func NewServingCert(dir string) (*ServingCert, error) {
	chain, key, err := cert.GenerateSelfSignedCertKey("localhost", []net.IP{net.ParseIP(loopback)}, nil)
	if err != nil {
		return nil, fmt.Errorf("make a serving certificate: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of a serving certificate: %w", err)
	}
	for name, content := range map[string][]byte{"tls.crt": chain, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, fmt.Errorf("write a serving certificate: %w", err)
		}
	}
	return &ServingCert{Dir: dir, CA: chain}, nil // the authority's certificate is the chain's last
}
