package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
)

// meaning is the one place where what happened on the wire gets its reason and its text.
func meaning(err error, at location) *Error {
	var known *Error
	var answer *transport.Error
	if errors.As(err, &known) {
		return known
	}
	for _, content := range contents {
		if errors.Is(err, content.is) {
			return newError(v1.ReasonInvalidContent, err, "%s: what the registry sends %s", at.text, content.text)
		}
	}
	if errors.Is(err, errListEnds) {
		return newError(v1.ReasonUnavailable, err, "%s: %v; Tagger tries again", at.text, errListEnds)
	}
	if errors.As(err, &answer) {
		return answered(answer, at).adding(unshown(err))
	}
	return unanswered(err, at)
}

// contents are the ways to be no image.
var contents = []struct {
	is   error
	text string
}{
	{errTooLarge, fmt.Sprintf("is larger than the %d MiB that a manifest may have", maxManifest>>20)},
	{errEncoded, "is compressed, which manifests never are"},
	{errTooManyChildren, fmt.Sprintf("is an index of more than %d manifests", maxChildren)},
	{errTooDeep, fmt.Sprintf("is more than %d indexes in one another", maxNesting)},
	{errTooManyManifests, fmt.Sprintf("is an image of more than %d manifests, or of manifests of more than %d MiB together, what is attached to it included", maxManifests, maxManifestBytes>>20)},
	{errTooManyBlobs, fmt.Sprintf("is an image of more than %d blobs", maxBlobs)},
	{errTooManyReferrers, fmt.Sprintf("lists more than %d manifests that are attached to the image; the administrator can have what is attached left out with --mirror-attachments=false", maxReferrers)},
	{errTooManyLayers, fmt.Sprintf("is a manifest of more than %d layers", maxLayers)},
	{errForeignLayer, "names a layer that must not be distributed (a foreign layer), so that it cannot be cached; set spec.cache to false"},
	{errWrongSize, "does not have the size that it should have; push the image again"},
	{errWrongDigest, "does not have the digest that it should have; push the image again"},
	// Web pages, and Docker's schema 1, which no runtime pulls any more.
	{errNoManifest, "is no image manifest of schema 2; check spec.from, or push the image again"},
}

// codes are the errors of the distribution-spec (section "Error codes") that say more than the status they come with.
var codes = map[transport.ErrorCode]v1.Reason{
	transport.ManifestUnknownErrorCode: v1.ReasonNotFound,
	transport.NameUnknownErrorCode:     v1.ReasonNotFound,
	transport.NameInvalidErrorCode:     v1.ReasonInvalidReference,
	transport.TagInvalidErrorCode:      v1.ReasonInvalidReference,
	transport.UnauthorizedErrorCode:    v1.ReasonUnauthorized,
	transport.DeniedErrorCode:          v1.ReasonUnauthorized,
	transport.TooManyRequestsErrorCode: v1.ReasonRateLimited,
}

// statuses are the answers that have a meaning of their own. The others, 5xx above all, mean Unavailable.
var statuses = map[int]v1.Reason{
	http.StatusUnauthorized:    v1.ReasonUnauthorized,
	http.StatusForbidden:       v1.ReasonUnauthorized,
	http.StatusNotFound:        v1.ReasonNotFound,
	http.StatusGone:            v1.ReasonNotFound,
	http.StatusTooManyRequests: v1.ReasonRateLimited,
}

// advice is what to do about an answer.
var advice = map[v1.Reason]string{
	v1.ReasonNotFound:         "there is no such repository or tag; check spec.from, and the pull secrets if it is private",
	v1.ReasonInvalidReference: "the registry does not take such a name; correct spec.from",
	v1.ReasonUnauthorized:     "access is refused; check the namespace's pull secrets for this registry",
	v1.ReasonRateLimited:      "the registry asks to wait; Tagger tries again later",
	v1.ReasonUnavailable:      "the registry does not work as it should; Tagger tries again",
}

// answered is for what a registry, or its token service, answered.
func answered(answer *transport.Error, at location) *Error {
	reason, known := statuses[answer.StatusCode]
	if !known {
		reason = v1.ReasonUnavailable
	}
	for _, said := range answer.Errors {
		if better, known := codes[said.Code]; known {
			reason = better
			break
		}
	}
	said, advice := quoted(answer), advice[reason]
	switch missing := missingFrom(answer, at); {
	case reason == v1.ReasonNotFound && missing != "":
		advice = "the registry does not have " + missing + ", which the image names; push the image again"
	case refusesForAReason(answer, said):
		advice = "the registry refuses the request and says why; if that is about access, check the namespace's pull secrets for this registry"
	}
	return newError(reason, answer, "%s: %s (%s answered %d%s)", at.text, advice, answeredBy(answer, at), answer.StatusCode, said)
}

// refusesForAReason reports whether a 403 comes with a message. Not only wrong passwords have one, but quotas, too.
func refusesForAReason(answer *transport.Error, said string) bool {
	return answer.StatusCode == http.StatusForbidden && strings.Contains(said, ": ")
}

// missingFrom names the manifest or the blob that a request was for, where it is not the image itself; else it is empty.
func missingFrom(answer *transport.Error, at location) string {
	if answer.Request == nil || hasCode(answer, transport.NameUnknownErrorCode) {
		return ""
	}
	first := answer.Request.URL
	if earlier := hops(answer.Request); len(earlier) > 0 {
		first = earlier[len(earlier)-1].URL
	}
	for _, kind := range []string{"manifest", "blob"} {
		_, identifier, _ := strings.Cut(first.Path, "/"+kind+"s/")
		if named, err := digest.Parse(identifier); err == nil && identifier != at.identifier {
			return kind + " " + named.String()
		}
	}
	return ""
}

// answeredBy is the host that answered: a token service, or where a redirect led, may be another than the registry.
func answeredBy(answer *transport.Error, at location) string {
	if answer.Request == nil || answer.Request.URL == nil {
		return at.host
	}
	return answer.Request.URL.Host
}

// silences are the ways not to answer, the most telling first.
var silences = []struct {
	is   func(error) bool
	text string
}{
	{isA[*net.DNSError], "its name cannot be resolved; check its spelling, and the cluster's DNS"},
	{is(errStalled), "it stopped in the middle of an answer"},
	{is(errUploadStalled), "it stopped in the middle of what it is sent"},
	{is(errTooManyRedirects), fmt.Sprintf("it redirects more than %d times", maxRedirects)},
	{is(errBodyElsewhere), "it redirects to another host what only it may see"},
	{is(errRedirectedLogin), "it redirects with a credential of its own"},
	{isTimeout, "it does not answer in time"},
	{isA[x509.UnknownAuthorityError], "its certificate is signed by an authority that is not trusted; the administrator can add it to the CA bundle"},
	{isA[x509.HostnameError], "its certificate is for another name"},
	{isA[*tls.CertificateVerificationError], "its certificate is not valid"},
	{is(syscall.ECONNREFUSED), "it refuses connections"},
}

// unanswered is for what never became an answer of a registry.
func unanswered(err error, at location) *Error {
	exact := unansweredExactly(err, at)
	if isA[*hiddenError](err) && !isA[*refusedHostError](err) {
		return hidden(err, at, failingHost(err, at), exact.text)
	}
	return exact
}

// unansweredExactly tells what happened, whatever the host is.
func unansweredExactly(err error, at location) *Error {
	host := failingHost(err, at)
	var forbidden *refusedHostError
	if errors.As(err, &forbidden) {
		return refusedHost(err, at, forbidden.host)
	}
	if speaksPlainHTTP(err) && !at.insecure {
		return needsPlainHTTP(err, at, host)
	}
	for _, silence := range silences {
		if silence.is(err) {
			return unreachable(err, at, host, silence.text)
		}
	}
	refused, isPlain := refusedPlainHTTP(err)
	switch {
	case isPlain:
		return needsPlainHTTP(err, at, refused.host)
	case isA[net.Error](err), errors.Is(err, io.ErrUnexpectedEOF):
		return unreachable(err, at, host, "the connection failed")
	default:
		return newError(v1.ReasonUnavailable, err, "%s: %s does not answer as a registry does; check spec.from; Tagger tries again", at.text, at.host)
	}
}

// speaksPlainHTTP reports whether a host answers in plain HTTP where TLS is expected. net/http gives that an error of its own, but not
// at a hidden host.
func speaksPlainHTTP(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/"
}

// refusedPlainHTTP returns our refusal of plain HTTP if the first request that failed has it. go-containerregistry asks private
// addresses by plain HTTP after HTTPS has failed in whatever way, and joins both errors.
func refusedPlainHTTP(err error) (refused *plainHTTPError, isPlain bool) {
	var first *url.Error
	if errors.As(err, &first) {
		err = first
	}
	isPlain = errors.As(err, &refused)
	return refused, isPlain
}

func unreachable(err error, at location, host, why string) *Error {
	return newError(v1.ReasonUnavailable, err, "%s: %s cannot be reached: %s; Tagger tries again", at.text, host, why)
}

// refusedHost says the same whatever the host is, and whether somebody listens there or not: who may write Tags must not
// learn from them what runs on the node.
func refusedHost(err error, at location, host string) *Error {
	return newError(v1.ReasonRefusedByPolicy, err,
		"%s: this needs a connection to %s, which is no address for a registry (loopback, link-local, or a cloud's metadata); the administrator can list %[2]s in registries.conf", at.text, host)
}

func needsPlainHTTP(err error, at location, host string) *Error {
	return newError(v1.ReasonRefusedByPolicy, err,
		"%s: this needs plain HTTP to %s, which Tagger does not use unless the administrator lists %[2]s as insecure in registries.conf", at.text, host)
}

// refusedAll is for a registry that lets none of us in.
func refusedAll(refusal error, tried int) error {
	return adding(refusal, "; tried "+triedWith(tried)+"anonymously")
}

// afterRefusals adds to an error how many credentials had been refused before.
func afterRefusals(err error, tried int) error {
	if tried == 0 {
		return err
	}
	return adding(err, fmt.Sprintf("; before, the registry had refused %s", credentialCount(tried)))
}

func adding(err error, text string) error {
	var failure *Error
	if !errors.As(err, &failure) {
		return err
	}
	return failure.adding(text)
}

func triedWith(count int) string {
	if count == 0 {
		return ""
	}
	return "with " + credentialCount(count) + " and "
}

func credentialCount(count int) string {
	if count == 1 {
		return "1 credential"
	}
	return fmt.Sprintf("%d credentials", count)
}

// failingHost is the host of the request that failed.
func failingHost(err error, at location) string {
	var failed *url.Error
	if !errors.As(err, &failed) {
		return at.host
	}
	address, parseErr := url.Parse(failed.URL)
	if parseErr != nil || address.Host == "" {
		return at.host
	}
	return address.Host
}

func isA[T error](err error) bool {
	var wanted T
	return errors.As(err, &wanted)
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func isTimeout(err error) bool {
	var failure net.Error
	return errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &failure) && failure.Timeout())
}
