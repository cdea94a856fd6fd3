package regerr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
)

// Subject is what an error is about.
type Subject struct {
	// Text names the image, and the location where it differs.
	Text string
	// Host is the registry as users write it.
	Host string
	// Identifier is the image's tag or digest.
	Identifier string
	// Insecure: the administrator allows plain HTTP.
	Insecure bool
	// IsMirror: the registry is the internal one, and the text is for the administrator who named it.
	IsMirror bool
}

// setting returns the setting to check.
func (s Subject) setting() string {
	if s.IsMirror {
		return "CACHE_REGISTRY_ADDRESS"
	}
	return "spec.from"
}

// Classify gives an error its reason and its text. An error that is an *Error already stays as it is.
func Classify(err error, subject Subject) *Error {
	var known *Error
	var cause *Cause
	var response *ggcr.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &cause) && !cause.isHost:
		return fromCause(err, cause, subject).with(reached)
	case errors.As(err, &response):
		return fromResponse(response, subject).withText(hint(err)).with(reached)
	default:
		return fromTransport(err, subject)
	}
}

func fromCause(err error, cause *Cause, subject Subject) *Error {
	switch {
	case cause.reason != v1.ReasonInvalidContent:
		return New(cause.reason, err, "%s: %s; Tagger tries again", subject.Text, cause.text)
	case cause.isReference:
		return New(cause.reason, err, "%s: what the registry sends %s; check %s, or push the image again", subject.Text, cause.text, subject.setting())
	default:
		return New(cause.reason, err, "%s: what the registry sends %s", subject.Text, cause.text)
	}
}

func hint(err error) string {
	var hinted *HintError
	if !errors.As(err, &hinted) {
		return ""
	}
	return hinted.hint
}

// codes are the errors of the distribution-spec (section "Error codes") that say more than the status they come with.
var codes = map[ggcr.ErrorCode]v1.Reason{
	ggcr.ManifestUnknownErrorCode: v1.ReasonNotFound,
	ggcr.NameUnknownErrorCode:     v1.ReasonNotFound,
	ggcr.NameInvalidErrorCode:     v1.ReasonInvalidReference,
	ggcr.TagInvalidErrorCode:      v1.ReasonInvalidReference,
	ggcr.UnauthorizedErrorCode:    v1.ReasonUnauthorized,
	ggcr.DeniedErrorCode:          v1.ReasonUnauthorized,
	ggcr.TooManyRequestsErrorCode: v1.ReasonRateLimited,
}

// statuses are the statuses that have a reason of their own. The others, 5xx above all, mean Unavailable.
var statuses = map[int]v1.Reason{
	http.StatusUnauthorized:    v1.ReasonUnauthorized,
	http.StatusForbidden:       v1.ReasonUnauthorized,
	http.StatusNotFound:        v1.ReasonNotFound,
	http.StatusGone:            v1.ReasonNotFound,
	http.StatusTooManyRequests: v1.ReasonRateLimited,
}

// hints say what to do about a response of a source.
var hints = map[v1.Reason]string{
	v1.ReasonNotFound:         "there is no such repository or tag; check spec.from, and the pull secrets if it is private",
	v1.ReasonInvalidReference: "the registry does not take such a name; correct spec.from",
	v1.ReasonUnauthorized:     "access is refused; check the namespace's pull secrets for this registry",
	v1.ReasonRateLimited:      "the registry asks to wait; Tagger tries again later",
	v1.ReasonUnavailable:      "the registry does not work as it should; Tagger tries again",
}

// mirrorHints say what to do about a response of the internal registry.
var mirrorHints = map[v1.Reason]string{
	v1.ReasonUnauthorized: "access is refused; check CACHE_REGISTRY_USERNAME and CACHE_REGISTRY_PASSWORD, which count together with CACHE_REGISTRY_ADDRESS only",
	v1.ReasonRateLimited:  "it asks to wait; Tagger tries again later",
	v1.ReasonNotFound:     "it does not have what was asked for; check that CACHE_REGISTRY_ADDRESS names a registry, and one that makes repositories by itself; Tagger tries again",
}

// fromResponse describes the response of a registry, or of its token service.
func fromResponse(response *ggcr.Error, subject Subject) *Error {
	reason, known := statuses[response.StatusCode]
	if !known {
		reason = v1.ReasonUnavailable
	}
	for _, said := range response.Errors {
		if better, known := codes[said.Code]; known {
			reason = better
			break
		}
	}
	message := registryMessage(response)
	describe := sourceHint
	if subject.IsMirror {
		describe = mirrorHint
	}
	return New(reason, response, "%s: %s (%s answered %d%s)",
		subject.Text, describe(response, reason, message, subject), respondingHost(response, subject), response.StatusCode, message)
}

func sourceHint(response *ggcr.Error, reason v1.Reason, message string, subject Subject) string {
	switch missing := missingFrom(response, subject); {
	case reason == v1.ReasonNotFound && missing != "":
		return "the registry does not have " + missing + ", which the image names; push the image again"
	case refusesWithMessage(response, message):
		return "the registry refuses the request and says why; if that is about access, check the namespace's pull secrets for this registry"
	default:
		return hints[reason]
	}
}

func mirrorHint(response *ggcr.Error, reason v1.Reason, message string, _ Subject) string {
	hint, known := mirrorHints[reason]
	switch {
	case refusesWithMessage(response, message):
		return "it refuses the request, and says why; Tagger tries again"
	case !known:
		return "it does not work as it should; Tagger tries again"
	default:
		return hint
	}
}

// refusesWithMessage reports whether a 403 comes with a message. Not only wrong passwords have one, but quotas, too.
func refusesWithMessage(response *ggcr.Error, message string) bool {
	return response.StatusCode == http.StatusForbidden && strings.Contains(message, ": ")
}

// missingFrom names the manifest or the blob that a request was for, where it is not the image itself; else it is empty.
func missingFrom(response *ggcr.Error, subject Subject) string {
	if response.Request == nil || HasCode(response, ggcr.NameUnknownErrorCode) {
		return ""
	}
	first := response.Request
	for first.Response != nil && first.Response.Request != nil { // redirects led from there
		first = first.Response.Request
	}
	for _, kind := range []string{"manifest", "blob"} {
		_, identifier, _ := strings.Cut(first.URL.Path, "/"+kind+"s/")
		if named, err := digest.Parse(identifier); err == nil && identifier != subject.Identifier {
			return kind + " " + named.String()
		}
	}
	return ""
}

// respondingHost returns the host that responded: a token service, or where a redirect led, may be another than the registry.
func respondingHost(response *ggcr.Error, subject Subject) string {
	if response.Request == nil || response.Request.URL == nil {
		return subject.Host
	}
	return response.Request.URL.Host
}

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

// hidden is the error for what is told of a host that is neither public nor listed. The exact one is its detail.
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

// IsA reports whether the chain of an error has one of a type.
func IsA[T error](err error) bool {
	var wanted T
	return errors.As(err, &wanted)
}

// IsTimeout reports whether an error is a timeout, of a deadline or of the network.
func IsTimeout(err error) bool {
	var failure net.Error
	return errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &failure) && failure.Timeout())
}

// IsStatus reports whether an error is a response with one of the statuses.
func IsStatus(err error, statuses ...int) bool {
	var response *ggcr.Error
	return errors.As(err, &response) && slices.Contains(statuses, response.StatusCode)
}

// HasCode reports whether an error is a response with one of the codes (distribution-spec, section "Error Codes").
func HasCode(err error, codes ...ggcr.ErrorCode) bool {
	var response *ggcr.Error
	return errors.As(err, &response) && slices.ContainsFunc(response.Errors, func(one ggcr.Diagnostic) bool {
		return slices.Contains(codes, one.Code)
	})
}

// IsUnauthorized reports whether a registry refused a credential, or the anonymous user.
func IsUnauthorized(err error) bool { return HasReason(err, v1.ReasonUnauthorized) }

// HasReason reports whether an error is an *Error with the reason.
func HasReason(err error, reason v1.Reason) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.reason == reason
}
