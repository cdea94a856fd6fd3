package registriesconf

import (
	"fmt"

	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"k8s.io/utils/clock"
)

// Load reads the file at path. No file, and an empty path, mean no configuration; a malformed file is an
// error. Once Start runs, the file may change: a malformed one is then given to report, once, and the last good one stays
// in force. A nil clock means the system's.
func Load(path string, report func(error), from clock.WithTicker) (*Config, error) {
	loaded := &Config{}
	loaded.Watch(path, loaded.apply, report, from)
	if _, err := loaded.Load(); err != nil {
		return nil, err
	}
	return loaded, nil
}

// apply makes sysregistriesv2 read the file again.
func (c *Config) apply(content []byte) (changed bool, err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if content == nil {
		changed, c.inForce, c.unqualified, c.listed = c.inForce, false, "", nil
		return changed, nil
	}
	configured, err := sysregistriesv2.TryUpdatingCache(c.system())
	if err != nil {
		return false, fmt.Errorf("registries.conf is malformed: %w", err)
	}
	c.inForce, c.unqualified, c.listed = true, only(configured.UnqualifiedSearchRegistries), listedHosts(configured.Registries)
	return true, nil
}

// only returns the only value, or an empty string.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
