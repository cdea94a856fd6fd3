package regerr

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	v1 "github.com/images-io/tagger/api/v1"
)

// maxQuoted bounds what of a registry's own words goes into an error, in bytes: of all its errors together.
const maxQuoted = 512

// maxForm is how much is read of what was posted, in bytes: a form with a token, but no manifest.
const maxForm = 64 << 10

var (
	// errorCode is how the distribution-spec wants codes (section "Error codes"): what does not look like it comes from no
	// registry, and is not repeated.
	errorCode = regexp.MustCompile(`^[A-Z][A-Z_]{0,63}$`)

	// secretPattern is what a registry may repeat of a request that must not be shown to others: what follows an authentication
	// scheme, tokens (RFC 7519), and the query of a URL.
	secretPattern = regexp.MustCompile(`(?i)\b(basic|bearer)\s+\S+|\beyJ[\w-]+(\.[\w-]*)*|\?\S*`)
)

// registryMessage returns what the registry itself says, the code and the message of each error, to be put into brackets; empty when it is no
// registry's error. What it was shown is left out.
func registryMessage(response *ggcr.Error) string {
	said := slices.DeleteFunc(slices.Clone(response.Errors), func(one ggcr.Diagnostic) bool { return !errorCode.MatchString(string(one.Code)) })
	if len(said) == 0 {
		return ""
	}
	texts, secrets := make([]string, len(said)), requestSecrets(response.Request)
	for i, one := range said {
		message := one.Message
		for _, secret := range secrets {
			message = strings.ReplaceAll(message, secret, "…")
		}
		texts[i] = string(one.Code)
		if message = secretPattern.ReplaceAllString(message, "…"); message != "" {
			texts[i] += ": " + v1.Truncate(message, max(maxQuoted/len(said), len("…")))
		}
	}
	return " " + v1.Truncate(strings.Join(texts, "; "), maxQuoted)
}

// requestSecrets returns the secrets that a request brought: a password, a token, or how they are written in a header (RFC 7617).
func requestSecrets(request *http.Request) (secrets []string) {
	if request == nil {
		return nil
	}
	_, credentials, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	_, password, _ := request.BasicAuth()
	secrets = []string{credentials, password}
	if request.GetBody != nil {
		secrets = append(secrets, posted(request)...)
	}
	return slices.DeleteFunc(secrets, func(secret string) bool { return secret == "" })
}

// posted returns the secrets in the body of a request to a token service (distribution's OAuth2 authentication).
func posted(request *http.Request) (secrets []string) {
	body, err := request.GetBody()
	if err != nil {
		return nil
	}
	defer body.Close()
	content, err := io.ReadAll(io.LimitReader(body, maxForm))
	if err != nil {
		return nil
	}
	form, err := url.ParseQuery(string(content))
	if err != nil {
		return nil
	}
	return []string{form.Get("refresh_token"), form.Get("password")}
}
