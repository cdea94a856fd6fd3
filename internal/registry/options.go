package registry

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"k8s.io/utils/clock"
)

// Options say how a Client reaches registries. The zero value reaches public registries and trusts the system's CAs.
type Options struct {
	// Version goes into the User-Agent, tagger/<version>. Empty means dev.
	Version string
	// Authorities are the CAs that count; nil means the system's.
	Authorities *Authorities
	// Proxy chooses the proxy of a URL, as the ProxyFunc of golang.org/x/net/http/httpproxy does; nil means no proxy.
	Proxy func(*url.URL) (*url.URL, error)
	// Configuration is what the administrator says in registries.conf; nil means nothing.
	Configuration *RegistriesConf
	// Clock tells when a token is over, and when a host may be asked again; nil means the system's.
	Clock clock.PassiveClock
	// Around is put round what sends requests: it sees each one as it is sent, redirected ones too. Nil means nothing.
	Around func(http.RoundTripper) http.RoundTripper
	// Copies bound what Copy does.
	Copies CopyLimits

	// What tests set: how long we wait, who looks names up, and what is asked before a connection is made.
	limits   limits
	resolver *net.Resolver
	control  func(network, address string, connection syscall.RawConn) error
}

// complete puts the defaults where nothing is said.
func (options Options) complete() Options {
	if options.Authorities == nil {
		options.Authorities = &Authorities{}
	}
	if options.Proxy == nil {
		options.Proxy = func(*url.URL) (*url.URL, error) { return nil, nil }
	}
	if options.Configuration == nil {
		options.Configuration = &RegistriesConf{}
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	options.Copies = options.Copies.complete()
	options.limits.requests = cmp.Or(options.limits.requests, requestsLimit)
	options.limits.header = cmp.Or(options.limits.header, headerTimeout)
	options.limits.stall = cmp.Or(options.limits.stall, stallTimeout)
	options.limits.stored = cmp.Or(options.limits.stored, storeTimeout)
	options.limits.slow = cmp.Or(options.limits.slow, slowAnswer)
	return options
}
