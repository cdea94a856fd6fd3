package registriesconf

import (
	"fmt"
	"net"
	"strings"
	"sync"

	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/filewatch"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// Config is what the administrator says about registries, in containers-registries.conf(5): prefix, location,
// mirror, insecure, blocked and unqualified-search-registries. It is safe for concurrent use. The zero value says nothing.
//
// sysregistriesv2 keeps the last configuration that it could read, by path and for the whole process. We make use of that:
// it is read when the file has changed, and stays as it is when the new one is malformed.
type Config struct {
	filewatch.File

	mutex sync.RWMutex
	// inForce is false while nothing is configured.
	inForce     bool
	unqualified string
	// listed are the hosts that entries name, with their ports.
	listed map[string]bool
}

// UnqualifiedRegistry returns where an image without a registry comes from, when the administrator names exactly one such
// registry; empty otherwise.
func (c *Config) UnqualifiedRegistry() string {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	return c.unqualified
}

// Endpoints returns where the source is asked for, in order: the mirrors, then the location. The error is an *regerr.Error.
func (c *Config) Endpoints(source reference.Source) ([]endpoint.Endpoint, error) {
	registry, err := c.find(source.String(), source.Registry())
	if err != nil {
		return nil, unusable(source, err)
	}
	if registry == nil {
		direct, err := endpoint.New(source, source, false)
		return []endpoint.Endpoint{direct}, err
	}
	if registry.Blocked {
		return nil, regerr.New(v1.ReasonRefusedByPolicy, nil, "%s: the administrator blocks %s in registries.conf", source, registry.Prefix)
	}
	return rewrite(source, registry)
}

// rewrite follows the entry's mirrors and location. It does what sysregistriesv2 does, whose references know no IPv6 address.
func rewrite(source reference.Source, registry *sysregistriesv2.Registry) ([]endpoint.Endpoint, error) {
	var locations []endpoint.Endpoint
	for _, candidate := range endpointsFor(source, registry) {
		if candidate.NamespaceProxy != "" {
			return nil, regerr.New(v1.ReasonRefusedByPolicy, nil, "%s: registries.conf sets namespace-proxy for %s, which Tagger does not support", source, registry.Prefix)
		}
		asked, err := reference.Parse(rewriteName(source.String(), registry.Prefix, candidate.Location), "")
		if err != nil {
			return nil, unusable(source, err)
		}
		ep, err := endpoint.New(source, asked, candidate.Insecure)
		if err != nil {
			return nil, err
		}
		locations = append(locations, ep)
	}
	return locations, nil
}

// endpointsFor returns the mirrors that the entry has for such a source, and then its location.
func endpointsFor(source reference.Source, registry *sysregistriesv2.Registry) []sysregistriesv2.Endpoint {
	other := sysregistriesv2.MirrorByDigestOnly
	if source.Digest() != "" {
		other = sysregistriesv2.MirrorByTagOnly
	}
	var endpoints []sysregistriesv2.Endpoint
	for _, mirror := range registry.Mirrors {
		if mirror.PullFromMirror != other && (source.Digest() != "" || !registry.MirrorByDigestOnly) {
			endpoints = append(endpoints, mirror)
		}
	}
	return append(endpoints, registry.Endpoint)
}

// rewriteName puts a location in place of the prefix; an empty one, which only a wildcard may have, leaves the name as it is.
func rewriteName(name, prefix, location string) string {
	if location == "" {
		return name
	}
	end := len(prefix)
	if domain, isWildcard := strings.CutPrefix(prefix, "*"); isWildcard {
		end = strings.Index(name, domain) + len(domain)
	}
	return location + name[end:]
}

func unusable(source reference.Source, err error) error {
	return regerr.New(v1.ReasonInvalidReference, err, "%s: registries.conf makes no usable name of it; the administrator can correct that", source)
}

// find returns the entry with the longest prefix of the name, or nil. sysregistriesv2 also takes an entry without a port for any
// port, and says not to rely on that: we heed it only where it blocks.
func (c *Config) find(name, host string) (*sysregistriesv2.Registry, error) {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	if !c.inForce {
		return nil, nil
	}
	registry, err := sysregistriesv2.FindRegistry(c.system(), name)
	if err != nil {
		return nil, fmt.Errorf("looking into registries.conf: %w", err)
	}
	if registry == nil || (!registry.Blocked && leavesPortOut(registry.Prefix, host)) {
		return nil, nil
	}
	return registry, nil
}

// leavesPortOut says that the host has a port and the entry's prefix is a host without one.
func leavesPortOut(prefix, host string) bool {
	return hasPort(host) && !hasPort(prefix) && !strings.Contains(prefix, "/")
}

func hasPort(host string) bool {
	_, _, err := net.SplitHostPort(host)
	return err == nil
}

// system names our file, and a directory of further files that does not exist, so that none of the machine's count.
func (c *Config) system() *types.SystemContext {
	return &types.SystemContext{SystemRegistriesConfPath: c.Path, SystemRegistriesConfDirPath: c.Path + ".none"}
}
