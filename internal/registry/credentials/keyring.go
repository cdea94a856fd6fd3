package credentials

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	corev1 "k8s.io/api/core/v1"

	"github.com/images-io/tagger/internal/registry/endpoint"
)

// Keyring is the credentials of one namespace. It never changes, and formats as a count, so that no log shows what is in
// it. The zero value has no credentials: requests with it are anonymous.
type Keyring struct {
	// ID tells keyrings apart. It is a hash of secrets, and stays in memory.
	ID      string
	entries []entry
}

// entry is a credential and what it was written for.
type entry struct {
	scope      scope
	Credential Credential
}

// Credential is who we say we are.
type Credential struct {
	// ID tells credentials apart. It is a hash of secrets, and stays in memory.
	ID   string
	Auth authn.AuthConfig
}

// Anonymous says nothing.
var Anonymous = Credential{}

// NewKeyring reads pull secrets of the types kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg, and leaves others
// out. A secret, or an entry of it, that cannot be read is an error that names the secret, never its content, and spoils
// nothing else.
func NewKeyring(secrets []corev1.Secret) (Keyring, []error) {
	entries, problems := readEntries(secrets)
	return newKeyring(entries), problems
}

// NewKeyringFor returns what NewKeyring does, reduced to the entries that are tried at the locations: a few, however many the secrets have.
func NewKeyringFor(secrets []corev1.Secret, locations []endpoint.Endpoint) (Keyring, []error) {
	entries, problems := readEntries(secrets)
	var reduced []entry
	for _, ep := range locations {
		reduced = append(reduced, Keyring{entries: entries}.Matching(ep.Host, ep.Repository)...)
	}
	return newKeyring(reduced), problems
}

// readEntries reads what can be read, most specific first.
func readEntries(secrets []corev1.Secret) (entries []entry, problems []error) {
	for _, secret := range secrets {
		read, err := entriesOf(secret)
		if err != nil {
			problems = append(problems, fmt.Errorf("pull secret %s/%s: %w", secret.Namespace, secret.Name, err))
		}
		entries = append(entries, read...)
	}
	slices.SortStableFunc(entries, bySpecificity)
	return entries, problems
}

// newKeyring gives entries their identities.
func newKeyring(entries []entry) Keyring {
	slices.SortStableFunc(entries, bySpecificity)
	for i := range entries {
		entries[i].Credential = New(entries[i].Credential.Auth)
	}
	keyring := Keyring{entries: entries}
	keyring.ID = keyring.fingerprint()
	return keyring
}

func bySpecificity(a, b entry) int { return a.scope.compare(b.scope) }

// Matching returns the entries written for the repository whose credentials are tried: at most maxCredentials, most specific
// first, each credential once.
func (k Keyring) Matching(host, repository string) []entry {
	var found []entry
	target := parseTarget(host, repository)
	for _, candidate := range k.entries {
		isKnown := func(other entry) bool { return other.Credential == candidate.Credential }
		if candidate.scope.covers(target) && !slices.ContainsFunc(found, isKnown) {
			if found = append(found, candidate); len(found) == maxCredentials {
				break
			}
		}
	}
	return found
}

func (k Keyring) fingerprint() string {
	if len(k.entries) == 0 {
		return ""
	}
	var parts []string
	for _, entry := range k.entries {
		parts = append(parts, entry.scope.String(), entry.Credential.ID)
	}
	return fingerprint(parts...)
}

// Format writes a count, whatever the verb.
func (k Keyring) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, credentialCount(len(k.entries)))
}

// New returns a credential.
func New(auth authn.AuthConfig) Credential {
	return Credential{ID: fingerprint(auth.Username, auth.Password, auth.IdentityToken, auth.RegistryToken), Auth: auth}
}

// fingerprint hashes the parts and where each one ends.
func fingerprint(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// maxCredentials bounds how many matching credentials are tried before asking anonymously, so that a namespace full of
// wrong passwords locks no account.
const maxCredentials = 3

// Authenticator returns the credential for go-containerregistry, which knows its own value only as anonymous.
func (c Credential) Authenticator() authn.Authenticator {
	if c == Anonymous {
		return authn.Anonymous
	}
	return authn.FromConfig(c.Auth)
}
