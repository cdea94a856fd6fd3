package credentials

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	corev1 "k8s.io/api/core/v1"
)

// What may be wrong with a secret. None of the texts has anything of its content, not even the decoder's, which quotes.
var (
	errNoConfig     = errors.New("it has no key " + corev1.DockerConfigJsonKey + " or " + corev1.DockerConfigKey + " of its type")
	errNoJSON       = errors.New("it is no Docker configuration in JSON")
	errNoEntry      = errors.New("an entry is no JSON object of strings")
	errNoScope      = errors.New("the key of an entry is no host[:port][/path]")
	errNoAuth       = errors.New(`"auth" of an entry is not the base64 of user:password`)
	errNoCredential = errors.New("an entry holds no credential")
)

// entriesOf reads what can be read of a secret; the error tells of the rest.
func entriesOf(secret corev1.Secret) ([]entry, error) {
	configured, err := configuredIn(secret)
	if err != nil {
		return nil, err
	}
	var entries []entry
	var problems []error
	for _, key := range slices.Sorted(maps.Keys(configured)) {
		entry, err := parseEntry(key, configured[key])
		if err != nil {
			problems = append(problems, err)
			continue
		}
		entries = append(entries, entry)
	}
	if len(problems) > 0 {
		return entries, fmt.Errorf("%d of %d entries cannot be used: %w", len(problems), len(configured), problems[0])
	}
	return entries, nil
}

// configuredIn returns the map from host to entry, which .dockerconfigjson wraps into "auths" and .dockercfg does not.
func configuredIn(secret corev1.Secret) (map[string]json.RawMessage, error) {
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		var config struct {
			Auths map[string]json.RawMessage `json:"auths"`
		}
		err := decode(secret.Data, corev1.DockerConfigJsonKey, &config)
		return config.Auths, err
	case corev1.SecretTypeDockercfg:
		var config map[string]json.RawMessage
		err := decode(secret.Data, corev1.DockerConfigKey, &config)
		return config, err
	default:
		return nil, nil
	}
}

func decode(data map[string][]byte, key string, into any) error {
	content, found := data[key]
	if !found {
		return errNoConfig
	}
	if json.Unmarshal(content, into) != nil {
		return errNoJSON
	}
	return nil
}

func parseEntry(key string, content json.RawMessage) (entry, error) {
	scope, err := parseScope(key)
	if err != nil {
		return entry{}, err
	}
	auth, err := parseAuth(content)
	if err != nil {
		return entry{}, err
	}
	return entry{scope: scope, Credential: Credential{Auth: auth}}, nil
}

// parseAuth takes "auth" before username and password, as docker and the kubelet do.
func parseAuth(content json.RawMessage) (authn.AuthConfig, error) {
	var written struct{ Username, Password, Auth, IdentityToken, RegistryToken string }
	if json.Unmarshal(content, &written) != nil {
		return authn.AuthConfig{}, errNoEntry
	}
	user, password := written.Username, written.Password
	if written.Auth != "" {
		var err error
		if user, password, err = splitAuth(written.Auth); err != nil {
			return authn.AuthConfig{}, err
		}
	}
	if user+password+written.IdentityToken+written.RegistryToken == "" {
		return authn.AuthConfig{}, errNoCredential
	}
	auth := authn.AuthConfig{Username: user, Password: password, IdentityToken: written.IdentityToken, RegistryToken: written.RegistryToken}
	if user != "" || password != "" {
		auth.Auth = base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	}
	return auth, nil
}

// splitAuth takes base64 with and without padding, since both are about.
func splitAuth(auth string) (user, password string, err error) {
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(auth), "="))
	if err != nil {
		return "", "", errNoAuth
	}
	user, password, found := strings.Cut(string(decoded), ":")
	if !found {
		return "", "", errNoAuth
	}
	return user, password, nil
}
