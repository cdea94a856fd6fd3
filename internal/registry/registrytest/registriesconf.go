package registrytest

import (
	"fmt"
	"strings"
)

// Listed returns a registries.conf that lists the hosts.
func Listed(hosts ...string) string {
	var conf strings.Builder
	for _, host := range hosts {
		fmt.Fprintf(&conf, "[[registry]]\nlocation = %q\n", host)
	}
	return conf.String()
}

// Insecure returns a registries.conf that allows plain HTTP at the hosts.
func Insecure(hosts ...string) string {
	return strings.ReplaceAll(Listed(hosts...), "[[registry]]\n", "[[registry]]\ninsecure = true\n")
}
