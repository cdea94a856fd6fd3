package harness

import (
	"fmt"
	"os"
	"strings"
)

// WriteRegistriesConf writes a containers-registries.conf(5) that allows plain HTTP at the addresses, each host:port.
func WriteRegistriesConf(path string, addresses ...string) error {
	var conf strings.Builder
	for _, address := range addresses {
		fmt.Fprintf(&conf, "[[registry]]\nlocation = %q\ninsecure = true\n", address)
	}
	return os.WriteFile(path, []byte(conf.String()), 0o600)
}
