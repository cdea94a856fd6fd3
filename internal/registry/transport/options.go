package transport

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/images-io/tagger/internal/registry/registriesconf"
)

// Options say how registries are reached. The zero value reaches public registries and trusts the system's CAs.
type Options struct {
	// Version goes into the User-Agent, tagger/<version>. Empty means dev.
	Version string
	// CABundle are the CAs that certificates are verified with; nil means the system's.
	CABundle *CABundle
	// Proxy chooses the proxy of a URL, as the ProxyFunc of golang.org/x/net/http/httpproxy does; nil means no proxy.
	Proxy func(*url.URL) (*url.URL, error)
	// Configuration is the administrator's registries.conf; nil means an empty one.
	Configuration *registriesconf.Config
	// Around wraps the transport that sends requests: it sees each one as it is sent, redirected ones too. Nil means none.
	Around func(http.RoundTripper) http.RoundTripper
	// Timeouts bound the waiting. A zero one has its default.
	Timeouts Timeouts
	// Resolver looks names up; nil means the system's.
	Resolver *net.Resolver
	// Control is called with the address of each connection before it is made, as net.Dialer's; nil means none.
	Control func(network, address string, connection syscall.RawConn) error
}

// Timeouts bound how long a request waits for a registry.
type Timeouts struct {
	// Request bounds a resolve at one location with one credential: a ping, a token, a HEAD and perhaps a GET. The default is 30 s.
	Request time.Duration
	// Header bounds the time until the header of a response. The default is 15 s.
	Header time.Duration
	// Stall bounds the time until the next byte of a body. The default is 30 s.
	Stall time.Duration
	// Throttle bounds the time that a resolve waits while a host has had as many requests as it may get. The default is 5 s.
	Throttle time.Duration
	// Store bounds the time that the internal registry takes to store a blob that it has received. The default is 5 min.
	Store time.Duration
}

// Complete fills in the defaults.
func (o Options) Complete() Options {
	if o.CABundle == nil {
		o.CABundle = &CABundle{}
	}
	if o.Proxy == nil {
		o.Proxy = func(*url.URL) (*url.URL, error) { return nil, nil }
	}
	if o.Configuration == nil {
		o.Configuration = &registriesconf.Config{}
	}
	o.Timeouts.Request = cmp.Or(o.Timeouts.Request, RequestTimeout)
	o.Timeouts.Header = cmp.Or(o.Timeouts.Header, HeaderTimeout)
	o.Timeouts.Stall = cmp.Or(o.Timeouts.Stall, stallTimeout)
	o.Timeouts.Throttle = cmp.Or(o.Timeouts.Throttle, throttleTimeout)
	o.Timeouts.Store = cmp.Or(o.Timeouts.Store, storeTimeout)
	return o
}

// RequestTimeout bounds a resolve at one endpoint with one credential: the ping, a token, a HEAD and
// perhaps a GET.
const RequestTimeout = 30 * time.Second

const throttleTimeout = 5 * time.Second
