package push

import (
	"bytes"
	"crypto/hmac"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"hash"
	"net/http"
	"strings"
)

// signature is how a sender signs its notifications with the token.
type signature struct {
	// header has the HMAC in hexadecimal digits, after the prefix.
	header, prefix string
	hash           func() hash.Hash
	// signed returns the content that the sender signs; nil means the body.
	signed func(http.Header, []byte) ([]byte, error)
	// mayBeToken reports that some senders send the token itself in the header.
	mayBeToken bool
}

// credentials are the tokens of one sender: the present one, and the previous one while it is still valid.
type credentials [][]byte

// has reports whether the text is one of the tokens.
func (c credentials) has(text string) bool {
	found := 0
	for _, token := range c {
		found |= subtle.ConstantTimeCompare(token, []byte(text))
	}
	return found == 1
}

// admits reports whether the path or a header of the request has a token.
func (c credentials) admits(pathToken string, header http.Header) bool {
	authorization := header.Get("Authorization")
	candidates := []string{pathToken, header.Get("X-Tagger-Token"), authorization}
	if scheme, value, found := strings.Cut(authorization, " "); found && strings.EqualFold(scheme, "Bearer") {
		candidates = append(candidates, strings.TrimSpace(value))
	}
	if _, password, isBasic := (&http.Request{Header: header}).BasicAuth(); isBasic {
		candidates = append(candidates, password)
	}
	admitted := false
	for _, candidate := range candidates {
		admitted = c.has(candidate) || admitted
	}
	return admitted
}

// signatureOf returns the signature that the request has, and its value, which is empty without one.
func (s sender) signatureOf(header http.Header) (signature, string) {
	for _, candidate := range s.signatures {
		if value := header.Get(candidate.header); value != "" {
			return candidate, value
		}
	}
	return signature{}, ""
}

// verify reports whether the value is the signature of the body with one of the tokens.
func (s signature) verify(tokens credentials, value string, header http.Header, body []byte) bool {
	sent, err := hex.DecodeString(strings.TrimPrefix(value, s.prefix))
	if err != nil {
		return false
	}
	if s.signed != nil {
		if body, err = s.signed(header, body); err != nil {
			return false
		}
	}
	verified := false
	for _, token := range tokens {
		mac := hmac.New(s.hash, token)
		mac.Write(body)
		verified = hmac.Equal(mac.Sum(nil), sent) || verified
	}
	return verified
}

// withoutSpace returns JSON without white space, which Nexus Repository signs.
func withoutSpace(_ http.Header, body []byte) ([]byte, error) {
	var compact bytes.Buffer
	err := json.Compact(&compact, body)
	return compact.Bytes(), err
}
