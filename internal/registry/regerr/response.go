package regerr

import (
	"net/http"
	"strings"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
)

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
