package transport

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var (
	// NumericLabel is what makes the last label of a host a number, for all who read addresses as inet_aton does (WHATWG URL
	// standard, "ends in a number"): decimal, octal or hexadecimal.
	NumericLabel = regexp.MustCompile(`(?i)(^|\.)([0-9]+|0x[0-9a-f]*)$`)

	// hostname is how a host is written in a URL when it is no IPv6 address. Whatever else there is, full-width digits for
	// one, is read by some as what it is not.
	hostname = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

	// localNames mean this machine, or the metadata service of a cloud, wherever they are looked up.
	localNames = []string{
		"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback",
		"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal", "metadata.tencentyun.com",
	}
)

// isForbiddenName judges a host by how it is written. Through a proxy that is all we ever see of it. What looks up as an
// address is judged again when we connect to it.
func isForbiddenName(host string) bool {
	host = strings.TrimRight(strings.ToLower(host), ".")
	if address, err := netip.ParseAddr(host); err == nil {
		return isForbidden(address)
	}
	if NumericLabel.MatchString(host) || !hostname.MatchString(host) {
		return true
	}
	return strings.HasSuffix(host, ".localhost") || slices.Contains(localNames, host)
}
