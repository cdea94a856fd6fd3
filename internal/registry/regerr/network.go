package regerr

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"

	v1 "github.com/images-io/tagger/api/v1"
)

// transportErrors are the failures of the network, the most telling first.
var transportErrors = []struct {
	is   func(error) bool
	text string
}{
	{IsA[x509.UnknownAuthorityError], "its certificate is signed by an authority that is not trusted; the administrator can add it to the CA bundle"},
	{IsA[x509.HostnameError], "its certificate is for another name"},
	{IsA[*tls.CertificateVerificationError], "its certificate is not valid"},
	{func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }, "it refuses connections"},
}

// fromTransport describes what never became the response of a registry.
func fromTransport(err error, subject Subject) *Error {
	exact := exactTransport(err, subject)
	if IsA[*HiddenError](err) && !IsA[*RefusedHostError](err) {
		return hidden(err, subject, failingHost(err, subject), exact.text)
	}
	return exact
}

// exactTransport describes it whatever the host is.
func exactTransport(err error, subject Subject) *Error {
	host := failingHost(err, subject)
	var refused *RefusedHostError
	if errors.As(err, &refused) {
		return refusedHost(err, subject, refused.Host)
	}
	if SpeaksPlainHTTP(err) && !subject.Insecure {
		return needsPlainHTTP(err, subject, host)
	}
	if text := unreachableText(err); text != "" {
		return unreachable(err, subject, host, text)
	}
	plain, isPlain := refusedPlainHTTP(err)
	switch {
	case isPlain:
		return needsPlainHTTP(err, subject, plain.Host)
	case IsA[net.Error](err), errors.Is(err, io.ErrUnexpectedEOF):
		return unreachable(err, subject, host, "the connection failed")
	default:
		return New(v1.ReasonUnavailable, err, "%s: %s does not answer as a registry does; check %s; Tagger tries again", subject.Text, subject.Host, subject.setting())
	}
}

// unreachableText says why a host cannot be reached, if that is known.
func unreachableText(err error) string {
	var cause *Cause
	switch {
	case IsA[*net.DNSError](err):
		return "its name cannot be resolved; check its spelling, and the cluster's DNS"
	case errors.As(err, &cause):
		return cause.text
	case IsTimeout(err):
		return "it does not answer in time"
	}
	for _, known := range transportErrors {
		if known.is(err) {
			return known.text
		}
	}
	return ""
}

// SpeaksPlainHTTP reports whether a host responds in plain HTTP where TLS is expected. net/http gives that an error of its own, but not
// at a hidden host.
func SpeaksPlainHTTP(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/"
}

// refusedPlainHTTP returns the refusal of plain HTTP if the first request that failed has it. go-containerregistry asks private
// addresses by plain HTTP after HTTPS has failed in whatever way, and joins both errors.
func refusedPlainHTTP(err error) (refused *PlainHTTPError, isPlain bool) {
	var first *url.Error
	if errors.As(err, &first) {
		err = first
	}
	isPlain = errors.As(err, &refused)
	return refused, isPlain
}

func unreachable(err error, subject Subject, host, why string) *Error {
	return New(v1.ReasonUnavailable, err, "%s: %s cannot be reached: %s; Tagger tries again", subject.Text, host, why).with(failed)
}

// refusedHost says the same whatever the host is, and whether something listens there or not: a tenant must not learn from it what runs
// on the node.
func refusedHost(err error, subject Subject, host string) *Error {
	return New(v1.ReasonRefusedByPolicy, err,
		"%s: this needs a connection to %s, which is no address for a registry (loopback, link-local, or a cloud's metadata); the administrator can list %[2]s in registries.conf", subject.Text, host)
}

func needsPlainHTTP(err error, subject Subject, host string) *Error {
	if subject.IsMirror {
		return New(v1.ReasonRefusedByPolicy, err, "%s: it speaks plain HTTP, which Tagger does not use unless CACHE_REGISTRY_INSECURE is true", subject.Text)
	}
	return New(v1.ReasonRefusedByPolicy, err,
		"%s: this needs plain HTTP to %s, which Tagger does not use unless the administrator lists %[2]s as insecure in registries.conf", subject.Text, host)
}

// hidden returns the error for a host that is neither public nor listed. Its detail is the exact text.
func hidden(err error, subject Subject, host, detail string) *Error {
	failure := New(v1.ReasonUnavailable, err,
		"%s: %s cannot be reached; check %s; the administrator finds the cause in the manager's log, and can list %[2]s in registries.conf; Tagger tries again", subject.Text, host, subject.setting())
	failure.detail, failure.contact = detail, failed
	return failure
}

// failingHost returns the host of the request that failed.
func failingHost(err error, subject Subject) string {
	var failed *url.Error
	if !errors.As(err, &failed) {
		return subject.Host
	}
	address, parseErr := url.Parse(failed.URL)
	if parseErr != nil || address.Host == "" {
		return subject.Host
	}
	return address.Host
}
