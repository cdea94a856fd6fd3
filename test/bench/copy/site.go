package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/images-io/tagger/test/cluster"
)

// memoryFolder is the folder in which Linux keeps files in memory, and memoryNeeded the largest size of the mirror. A disk
// would limit the benchmark.
const (
	memoryFolder = "/dev/shm"
	memoryNeeded = 5 << 30
)

// seldomCollecting makes a registry collect its garbage a quarter as often as usual. Distribution takes 4 MiB for each blob
// that it reads, and here it shares the processors with the measured programs.
const seldomCollecting = "GOGC=400"

// site is a source and a mirror, with the settings of the programs.
type site struct {
	// dir is the home directory of all programs, so that none finds another configuration.
	dir string
	// bin is the folder of the programs.
	bin            string
	source, mirror *place
	// certificate is the certificate of both; nil means plain HTTP.
	certificate *cluster.ServingCert
}

// place is a registry, and its relays if there are any. Clients use the first relay.
type place struct {
	// direct is the registry's own host:port.
	direct string
	relays []*relay
	// registry is distribution's, whose images are in dir; or it is light.
	registry *cluster.Registry
	dir      string
	light    *lightRegistry
}

// openSite starts a source and a mirror, both distribution's, without relays. It must be closed even if it fails.
func openSite(ctx context.Context, withTLS bool) (*site, error) {
	s, err := newSite()
	if err != nil {
		return s, err
	}
	if withTLS {
		if s.certificate, err = cluster.NewServingCert(filepath.Join(s.dir, "tls")); err != nil {
			return s, err
		}
		if err := os.WriteFile(s.authorities(), s.certificate.CA, 0o600); err != nil {
			return s, err
		}
	}
	if err := s.source.open(ctx, os.TempDir(), s.certificate); err != nil {
		return s, err
	}
	if err := s.mirror.open(ctx, roomy(memoryFolder, memoryNeeded), s.certificate); err != nil {
		return s, err
	}
	return s, s.configure()
}

// openRelayedSite starts a source and a mirror, both distribution's, with relays that delay and count every request.
func openRelayedSite(ctx context.Context, delay time.Duration) (*site, error) {
	s, err := openSite(ctx, false)
	if err != nil {
		return s, err
	}
	return s, s.relay(delay)
}

// openLightSite is openRelayedSite with light registries.
func openLightSite(_ context.Context, delay time.Duration) (*site, error) {
	s, err := newSite()
	if err != nil {
		return s, err
	}
	s.source.openLight()
	s.mirror.openLight()
	return s, s.relay(delay)
}

func newSite() (*site, error) {
	s := &site{source: &place{}, mirror: &place{}}
	root, err := cluster.Root()
	if err != nil {
		return s, err
	}
	s.bin = filepath.Join(root, "bin")
	s.dir, err = os.MkdirTemp("", "tagger-bench-")
	return s, err
}

// relay delays every request.
func (s *site) relay(delay time.Duration) error {
	s.source.addRelay(delay)
	s.mirror.addRelay(delay)
	return s.configure()
}

// roomy returns the folder if it has room for so many bytes, and the one for temporary files otherwise.
func roomy(folder string, bytes uint64) string {
	var system syscall.Statfs_t
	if err := syscall.Statfs(folder, &system); err != nil || system.Bavail*uint64(system.Bsize) < bytes {
		return os.TempDir()
	}
	return folder
}

func (p *place) open(ctx context.Context, parent string, certificate *cluster.ServingCert) (err error) {
	if p.dir, err = os.MkdirTemp(parent, "tagger-bench-"); err != nil {
		return err
	}
	p.registry, err = cluster.StartRegistry(ctx, cluster.RegistryOptions{Dir: p.dir, TLS: certificate, Env: []string{seldomCollecting}})
	if err != nil {
		return err
	}
	p.direct = p.registry.Address
	return nil
}

func (p *place) openLight() {
	p.light = newLightRegistry()
	p.direct = p.light.server.Listener.Addr().String()
}

// address returns host:port for clients.
func (p *place) address() string {
	if len(p.relays) > 0 {
		return p.relays[0].address()
	}
	return p.direct
}

// addRelay gives the registry one more address.
func (p *place) addRelay(delay time.Duration) *relay {
	added := newRelay(p.behindRelays(), delay)
	p.relays = append(p.relays, added)
	return added
}

func (p *place) behindRelays() http.Handler {
	if p.light != nil {
		return p.light
	}
	return proxyTo(p.direct)
}

// clear removes every image.
func (p *place) clear() error {
	if p.light != nil {
		p.light.clear()
		return nil
	}
	return os.RemoveAll(filepath.Join(p.dir, "data"))
}

func (p *place) close() error {
	var problems []error
	for _, relay := range p.relays {
		relay.server.Close()
	}
	if p.light != nil {
		p.light.server.Close()
	}
	if p.registry != nil {
		problems = append(problems, p.registry.Stop())
	}
	return errors.Join(append(problems, os.RemoveAll(p.dir))...)
}

func (s *site) close() error {
	return errors.Join(s.source.close(), s.mirror.close(), os.RemoveAll(s.dir))
}

// configure writes the registries.conf of Tagger for registries on loopback.
func (s *site) configure() error {
	addresses := []string{s.source.direct}
	for _, relay := range s.source.relays {
		addresses = append(addresses, relay.address())
	}
	var conf strings.Builder
	for _, address := range addresses {
		fmt.Fprintf(&conf, "[[registry]]\nlocation = %q\ninsecure = %t\n", address, s.plain())
	}
	return os.WriteFile(s.registriesConf(), []byte(conf.String()), 0o600)
}

func (s *site) plain() bool            { return s.certificate == nil }
func (s *site) registriesConf() string { return filepath.Join(s.dir, "registries.conf") }
func (s *site) authorities() string    { return filepath.Join(s.dir, "authorities.pem") }

// from returns the source of a copy of the digest, and to its destination.
func (s *site) from(digest string) string { return s.source.address() + "/" + upstream + "@" + digest }
func (s *site) to(image string) string    { return s.mirror.address() + "/" + image }

// upstream is the repository of every source.
const upstream = "company/app"

// publish pushes the image to the source and returns its digest.
func (s *site) publish(ctx context.Context, image content) (string, error) {
	index, err := image.index()
	if err != nil {
		return "", err
	}
	digest, err := index.Digest()
	if err != nil {
		return "", err
	}
	to, err := name.NewDigest(s.source.direct + "/" + upstream + "@" + digest.String())
	if err != nil {
		return "", err
	}
	return digest.String(), remote.WriteIndex(to, index, remote.WithContext(ctx), remote.WithTransport(s.transport()))
}

// check returns an error unless the mirror has the whole image under its tag. It is not counted.
func (s *site) check(ctx context.Context, image, digest string) error {
	tag, err := name.NewTag(s.mirror.direct + "/" + image)
	if err != nil {
		return err
	}
	index, err := remote.Index(tag, remote.WithContext(ctx), remote.WithTransport(s.transport()))
	if err != nil {
		return err
	}
	if got, err := index.Digest(); err != nil || got.String() != digest {
		return errors.Join(err, fmt.Errorf("%s is %s and not %s", image, got, digest))
	}
	return validate.Index(index, validate.Fast)
}

// transport trusts the certificate.
func (s *site) transport() http.RoundTripper {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if !s.plain() {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.certificate.CA)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return transport
}
