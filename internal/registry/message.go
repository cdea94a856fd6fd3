package registry

import (
	"regexp"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	v1 "github.com/images-io/tagger/api/v1"
)

// maxQuoted bounds what of a registry's own words goes into an error, in bytes.
const maxQuoted = 256

var (
	// errorCode is how the distribution-spec wants codes (section "Error codes"): what does not look like it comes from no
	// registry, and is not repeated.
	errorCode = regexp.MustCompile(`^[A-Z][A-Z_]{0,63}$`)

	// secretive is what a registry may repeat of a request that nobody else should see: what follows an authentication
	// scheme, tokens (RFC 7519), and the query of a URL.
	secretive = regexp.MustCompile(`(?i)\b(basic|bearer)\s+\S+|\beyJ[\w-]+(\.[\w-]*)*|\?\S*`)
)

// quoted is what the registry itself says, its code and message, to be put into brackets; empty when it is no registry's
// error.
func quoted(said transport.Diagnostic) string {
	code := string(said.Code)
	if !errorCode.MatchString(code) {
		return ""
	}
	message := secretive.ReplaceAllString(said.Message, "…")
	if message == "" {
		return " " + code
	}
	return " " + code + ": " + v1.Truncate(message, maxQuoted)
}
