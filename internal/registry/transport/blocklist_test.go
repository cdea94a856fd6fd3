package transport

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

func TestAddressesThatNoRegistryHas(t *testing.T) {
	for written, want := range map[string]bool{
		"127.0.0.1": true, "127.255.255.254": true, "0.0.0.0": true, "0.1.2.3": true, "169.254.169.254": true, "169.254.170.2": true,
		"224.0.0.251": true, "239.255.255.255": true, "240.0.0.1": true, "255.255.255.255": true,
		"100.100.100.200": true, "168.63.129.16": true, "192.0.0.192": true,
		"::": true, "::1": true, "fe80::1%eth0": true, "febf::1": true, "ff02::1": true, "fd00:ec2::254": true, "fd20:ce::254": true,
		"::ffff:127.0.0.1": true, "::127.0.0.1": true, "::ffff:0:127.0.0.1": true,
		"64:ff9b::a9fe:a9fe": true, "64:ff9b:1::7f00:1": true, "2002:7f00:1::": true, "2002:a9fe:a9fe::1": true,
		"2001:0:4136:e378:8000:63bf:80ff:fffe": true, // Teredo of 127.0.0.1

		"8.8.8.8": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "100.64.0.1": false, "100.100.100.201": false,
		"128.0.0.1": false, "169.253.255.255": false, "223.255.255.255": false,
		"2001:db8::1": false, "fd00::1": false, "fd00:ec2::253": false, "fec0::1": false, "::2:7f00:1": false,
		"::ffff:10.0.0.1": false, "64:ff9b::808:808": false, "2002:808:808::1": false,
		"2001:0:4136:e378:8000:63bf:3fff:fdd2": false, // Teredo of 192.0.2.45
	} {
		if got := isForbidden(netip.MustParseAddr(written)); got != want {
			t.Errorf("%s: forbidden is %v, want %v", written, got, want)
		}
	}
}

func TestHostsAreJudgedByHowTheyAreWritten(t *testing.T) {
	for written, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1.": true, "127.1": true, "2130706433": true, "0x7f000001": true, "0X7F.1": true, "0177.0.0.1": true,
		"127.0.0.0x1": true, "0x": true, "fe80::1%25eth0": true, "::1": true, "localhost": true, "LocalHost.": true, "localhost..": true, "127.0.0.1..": true, "metadata.google.internal..": true, "a.b.localhost": true,
		"metadata.google.internal": true, "１２７.０.０.１": true, "①②⑦.⓪.⓪.①": true, "loc\u00adalhost": true, "": true, "127。0。0。1": true,
		// A number, but no way to write an address that everybody understands.
		"10.1": true, "8.8.8.8.8": true, "registry.1": true,

		"registry.example.com": false, "registry": false, "10.0.0.1": false, "8.8.8.8": false, "2001:db8::1": false, "1password.com": false,
		"localhost.example.com": false, "my-localhost": false, "xn--bcher-kva.example": false, "0x7f.example.com": false, "my_registry": false,
	} {
		if got := isForbiddenName(written); got != want {
			t.Errorf("%q: forbidden is %v, want %v", written, got, want)
		}
	}
}

// FuzzHostnames looks for a host that passes, and that inet_aton reads as an address which the blocklist has.
func FuzzHostnames(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "127.1", "0x7f000001", "0177.0.0.01", "2130706433", "0xa9.0376.43518", "registry.example.com", "::1", "1.2.3.4.", "localhost"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if isForbiddenName(host) {
			return
		}
		if address, is := inetAton(strings.TrimSuffix(host, ".")); is && isForbidden(address) {
			t.Errorf("%q is %v for some, and gets by", host, address)
		}
	})
}

// inetAton reads an address as the C library does: one to four parts, decimal, octal or hexadecimal, the last of which fills
// what is left.
func inetAton(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var whole uint64
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		value, err := strconv.ParseUint(part, 0, bits)
		if err != nil {
			return netip.Addr{}, false
		}
		whole = whole<<bits | value
	}
	return netip.AddrFrom4([4]byte{byte(whole >> 24), byte(whole >> 16), byte(whole >> 8), byte(whole)}), true
}
