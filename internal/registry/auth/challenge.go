package auth

import (
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/transport"
)

// maxParameter bounds each parameter of a challenge, in bytes.
const maxParameter = 4 << 10

// strippedChallenge is where hidingChallenges leaves a challenge. No response comes with such a name: net/http writes all names
// with capitals.
var strippedChallenge = "tagger-challenge"

var (
	// listElement is what commas separate in a list of challenges (RFC 9110, section 5.6.1): no comma in quotes does.
	listElement = regexp.MustCompile(`(?:[^,"]|"(?:[^"\\]|\\.)*")+`)
	// challengePart is a scheme, a parameter, or both (RFC 9110, section 11.6.1).
	challengePart = regexp.MustCompile(`^\s*(?:([\w!#$%&'*+.^|~-]+)(?:\s+|$))?(?:([\w!#$%&'*+.^|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",]+)))?`)
	quotedPairs   = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	quotedPair    = regexp.MustCompile(`\\(.)`)
)

// parseChallenges returns the challenges of a header, whether they are in one field or in several.
func parseChallenges(fields []string) (found []ggcr.Challenge) {
	for _, field := range fields {
		for _, element := range listElement.FindAllString(field, -1) {
			part := challengePart.FindStringSubmatch(element)
			if part == nil {
				continue
			}
			if scheme := part[1]; scheme != "" {
				found = append(found, ggcr.Challenge{Scheme: strings.ToLower(scheme), Parameters: map[string]string{}})
			}
			if key := strings.ToLower(part[2]); key != "" && len(found) > 0 {
				found[len(found)-1].Parameters[key] = quotedPair.ReplaceAllString(part[3], "$1") + part[4]
			}
		}
	}
	return found
}

// preferred returns the challenge to follow: Bearer before Basic. No other scheme is known.
func preferred(fields []string) (ggcr.Challenge, bool) {
	found := parseChallenges(fields)
	for _, scheme := range []string{"bearer", "basic"} {
		if i := slices.IndexFunc(found, func(one ggcr.Challenge) bool { return one.Scheme == scheme }); i >= 0 {
			return found[i], true
		}
	}
	return ggcr.Challenge{}, false
}

// oneChallenge leaves of the challenges of a response the one to follow, and of that the parameters that count, so that
// go-containerregistry does not choose, and nothing of any size is kept.
func oneChallenge(next http.RoundTripper) http.RoundTripper {
	return transport.RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err != nil || response.StatusCode != http.StatusUnauthorized {
			return response, err
		}
		kept, isKnown := preferred(response.Header.Values("WWW-Authenticate"))
		response.Header.Del("WWW-Authenticate")
		if isKnown {
			response.Header.Set("WWW-Authenticate", formatChallenge(kept))
		}
		return response, nil
	})
}

// formatChallenge formats a challenge as a header.
func formatChallenge(challenge ggcr.Challenge) string {
	var parameters []string
	for _, key := range []string{"realm", "service", "scope"} {
		if value := challenge.Parameters[key]; value != "" && len(value) <= maxParameter {
			parameters = append(parameters, key+`="`+quotedPairs.Replace(value)+`"`)
		}
	}
	return challenge.Scheme + " " + strings.Join(parameters, ",")
}

// challengedError is a refusal with the challenge that came with it.
type challengedError struct {
	error
	challenge *ggcr.Challenge
}

func (e *challengedError) Unwrap() error { return e.error }

// WithChallenge adds to a refusal its challenge, where the registry itself made it and it is one for a token.
func WithChallenge(err error, request *http.Request, response *http.Response) error {
	if response.Request == nil || response.Request.URL.Host != request.URL.Host {
		return err
	}
	found, _ := preferred(append(response.Header[strippedChallenge], response.Header.Values("WWW-Authenticate")...))
	if !wantsToken(&found) {
		return err
	}
	found.Insecure = response.Request.URL.Scheme == "http"
	return &challengedError{err, &found}
}

// NextChallenge returns the challenge that the client after a refused one follows. isNews reports whether that makes a difference.
func (s *Client) NextChallenge(refusal error, ep endpoint.Endpoint) (challenge *ggcr.Challenge, isNews bool) {
	var refused *challengedError
	if !errors.As(refusal, &refused) || s.satisfies(refused.challenge, ep) {
		return s.challenge, false
	}
	return refused.challenge, true
}

// satisfies reports whether the client's token is the one that a challenge asks for.
func (s *Client) satisfies(challenge *ggcr.Challenge, ep endpoint.Endpoint) bool {
	old, wanted := s.challenge.Parameters, challenge.Parameters
	return wantsToken(s.challenge) && old["realm"] == wanted["realm"] && old["service"] == wanted["service"] &&
		slices.Equal(scopesFor(ep, s.challenge), scopesFor(ep, challenge))
}

// withScope returns the challenge with another scope.
func withScope(challenge *ggcr.Challenge, scope string) *ggcr.Challenge {
	changed := *challenge
	changed.Parameters = maps.Clone(challenge.Parameters)
	changed.Parameters["scope"] = scope
	return &changed
}

// scopesFor returns the scopes to request: those of the challenge, unless the usual ones cover them.
func scopesFor(ep endpoint.Endpoint, challenge *ggcr.Challenge) []string {
	usual, wanted := ep.Scopes(), strings.Fields(challenge.Parameters["scope"])
	for _, scope := range wanted {
		if !slices.ContainsFunc(usual, func(one string) bool { return includes(one, scope) }) {
			return wanted
		}
	}
	return usual
}

// includes reports whether a scope is for the same resource as another one, and allows all that the other one does.
func includes(scope, other string) bool {
	i, j := strings.LastIndex(scope, ":")+1, strings.LastIndex(other, ":")+1
	if scope[:i] != other[:j] {
		return false
	}
	actions := strings.Split(scope[i:], ",")
	return !slices.ContainsFunc(strings.Split(other[j:], ","), func(action string) bool { return !slices.Contains(actions, action) })
}

// stripChallenges removes from responses to authenticated requests the challenge, which go-containerregistry would follow: it renews the token
// by itself, and two requests that do so at once write the same fields. The token cache logs in anew instead, once for all callers, with the
// challenge that is removed. Challenges of other hosts, where a redirect led, stay: go-containerregistry responds to those anonymously, and keeps
// nothing.
func stripChallenges(next http.RoundTripper) http.RoundTripper {
	return transport.RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err == nil && request.Header.Get("Authorization") != "" {
			response.Header[strippedChallenge] = response.Header.Values("WWW-Authenticate")
			response.Header.Del("WWW-Authenticate")
		}
		return response, err
	})
}
