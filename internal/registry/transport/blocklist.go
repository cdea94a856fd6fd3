package transport

import (
	"net/netip"
	"slices"
)

// forbidden are the addresses that no registry of a Tag has, unless the administrator lists it. Private networks (RFC 1918,
// RFC 4193) are not among them: that is where a company's own registries are.
var forbidden = prefixes(
	// This host, loopback, link-local, multicast, and reserved up to broadcast (RFC 6890, RFC 5771).
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "::1/128", "fe80::/10", "ff00::/8",
	// Where clouds keep the credentials of a machine, and it is not link-local: Alibaba, Azure, Oracle, AWS (instances and
	// EKS pods), Google, Oracle, Scaleway, Linode.
	"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
	"fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128", "fd00:a9fe:a9fe::1/128",
)

// carriers are IPv6 prefixes whose addresses carry an IPv4 address, to which the kernel or a router may unwrap them, and
// the byte that it begins at.
var carriers = []struct {
	prefix netip.Prefix
	at     int
	// inverted bits, as in Teredo.
	inverted bool
}{
	{prefix: netip.MustParsePrefix("::/96"), at: 12},                     // IPv4-compatible (RFC 4291, section 2.5.5.1)
	{prefix: netip.MustParsePrefix("::ffff:0:0:0/96"), at: 12},           // IPv4-translated (RFC 2765, section 2.1)
	{prefix: netip.MustParsePrefix("64:ff9b::/96"), at: 12},              // NAT64 (RFC 6052, section 2.1)
	{prefix: netip.MustParsePrefix("64:ff9b:1::/48"), at: 12},            // NAT64 of a site (RFC 8215), taken as a /96
	{prefix: netip.MustParsePrefix("2002::/16"), at: 2},                  // 6to4 (RFC 3056, section 2)
	{prefix: netip.MustParsePrefix("2001::/32"), at: 12, inverted: true}, // Teredo (RFC 4380, section 4)
}

// private are the addresses of networks that are not the internet (RFC 1918, RFC 4193, RFC 6598, RFC 2544, RFC 6890).
var private = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "192.0.0.0/24", "fc00::/7", "fec0::/10")

// isForbidden judges an address, and the IPv4 address that it may carry.
func isForbidden(address netip.Addr) bool { return isWithin(forbidden, address) }

// isPrivate reports the same of a network of the cluster or of a company.
func isPrivate(address netip.Addr) bool { return isWithin(private, address) }

func isWithin(prefixes []netip.Prefix, address netip.Addr) bool {
	address = address.WithZone("").Unmap()
	contains := func(prefix netip.Prefix) bool { return prefix.Contains(address) }
	if slices.ContainsFunc(prefixes, contains) {
		return true
	}
	for _, carrier := range carriers {
		if carrier.prefix.Contains(address) && isWithin(prefixes, embedded(address, carrier.at, carrier.inverted)) {
			return true
		}
	}
	return false
}

// embedded returns the IPv4 address in an IPv6 address.
func embedded(address netip.Addr, at int, inverted bool) netip.Addr {
	whole := address.As16()
	inner := [4]byte(whole[at : at+4])
	if inverted {
		for i := range inner {
			inner[i] = ^inner[i]
		}
	}
	return netip.AddrFrom4(inner)
}

func prefixes(written ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, 0, len(written))
	for _, prefix := range written {
		parsed = append(parsed, netip.MustParsePrefix(prefix))
	}
	return parsed
}
