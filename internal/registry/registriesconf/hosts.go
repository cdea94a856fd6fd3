package registriesconf

import (
	"go.podman.io/image/v5/pkg/sysregistriesv2"

	"github.com/images-io/tagger/internal/registry/endpoint"
)

// Lists says whether the administrator names this host and port: as a location, as a mirror, or as the host of a prefix.
// What is blocked is not named, and a prefix with a wildcard names no host.
func (c *Config) Lists(address string) bool {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	return endpoint.IsListed(c.listed, address)
}

// IsInsecure says whether the administrator lists the host, with its port, as insecure.
func (c *Config) IsInsecure(host string) bool {
	canonical := endpoint.CanonicalHost(host)
	registry, err := c.find(canonical, canonical)
	if err != nil || registry == nil || !registry.Insecure {
		return false
	}
	return registry.Location == "" || registry.Location == canonical
}

// listedHosts returns the hosts of all entries, each with its port.
func listedHosts(registries []sysregistriesv2.Registry) map[string]bool {
	listed := map[string]bool{}
	for i := range registries {
		if registries[i].Blocked {
			continue
		}
		endpoint.AddHost(listed, registries[i].Prefix, registries[i].Insecure)
		endpoint.AddHost(listed, registries[i].Location, registries[i].Insecure)
		for _, mirror := range registries[i].Mirrors {
			endpoint.AddHost(listed, mirror.Location, mirror.Insecure)
		}
	}
	return listed
}
