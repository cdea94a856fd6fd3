package endpoint

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// AddressOf returns the host of a URL, with its port unless that is the default one.
func AddressOf(u *url.URL) string {
	name := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		return strings.TrimSuffix(name, ":443")
	case "http":
		return strings.TrimSuffix(name, ":80")
	default:
		return name
	}
}

// RedirectTarget returns the URL that a response redirects to, or nil.
func RedirectTarget(response *http.Response) *url.URL {
	if response == nil || response.StatusCode/100 != 3 {
		return nil
	}
	target, err := response.Location()
	if err != nil {
		return nil
	}
	return target
}

// HostPort returns the host and the port of a URL.
func HostPort(address *url.URL) string {
	port := address.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[address.Scheme]
	}
	return net.JoinHostPort(address.Hostname(), port)
}

// Hostname leaves the port out.
func Hostname(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// CanonicalHost knows the names of Docker Hub.
func CanonicalHost(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	default:
		return host
	}
}

// IsListed reports whether a host and port is listed.
func IsListed(listed map[string]bool, address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err == nil && listed[net.JoinHostPort(CanonicalHost(strings.ToLower(host)), port)]
}

// AddHost adds the host of a name. One without a port stands for the ports of the schemes that it may be asked by.
func AddHost(listed map[string]bool, name string, insecure bool) {
	host, _, _ := strings.Cut(name, "/")
	if host == "" || strings.Contains(host, "*") {
		return
	}
	schemes := []string{"https"}
	if insecure {
		schemes = append(schemes, "http")
	}
	for _, scheme := range schemes {
		host, port, err := net.SplitHostPort(HostPort(&url.URL{Scheme: scheme, Host: strings.ToLower(host)}))
		if err == nil {
			listed[net.JoinHostPort(CanonicalHost(host), port)] = true
		}
	}
}

// MaxHostLength is how long a host may be, with its port, in bytes (RFC 1035, section 2.3.4).
const MaxHostLength = 253 + len(":65535")

// Hops returns the requests whose responses led to this one, the last first. http.Client notes them.
func Hops(request *http.Request) []*http.Request {
	var earlier []*http.Request
	for answer := request.Response; answer != nil && answer.Request != nil; answer = answer.Request.Response {
		earlier = append(earlier, answer.Request)
	}
	return earlier
}
