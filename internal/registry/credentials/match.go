package credentials

import (
	"cmp"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/images-io/tagger/internal/registry/endpoint"
)

// scope is what a key of a Docker configuration names: a host, which may have wildcards, and a path in it.
type scope struct {
	// labels of the host, each of them a pattern as in *.example.com.
	labels []string
	port   string
	path   []string
}

// parseScope reads a key as the kubelet does (k8s.io/kubernetes/pkg/credentialprovider): with or without a scheme, and
// with a /v1/ or /v2/ before the path, or instead of it.
func parseScope(key string) (scope, error) {
	bare := key
	for _, scheme := range []string{"https://", "http://"} {
		bare = strings.TrimPrefix(bare, scheme)
	}
	address, err := url.Parse("https://" + bare)
	if err != nil || address.Host == "" || address.User != nil {
		return scope{}, errNoScope
	}
	parsed := parseTarget(address.Host, address.Path)
	if len(parsed.path) > 0 && (parsed.path[0] == "v1" || parsed.path[0] == "v2") {
		parsed.path = parsed.path[1:]
	}
	for _, label := range parsed.labels {
		if _, err := path.Match(label, ""); err != nil {
			return scope{}, errNoScope
		}
	}
	return parsed, nil
}

// parseTarget takes a host and a path apart. Hosts do not tell cases apart (RFC 3986, section 3.2.2).
func parseTarget(host, repository string) scope {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ""
	}
	if strings.Contains(name, ":") { // an IPv6 address, whose brackets would be a pattern
		name = strings.Trim(name, "[]")
	}
	split := scope{labels: strings.Split(endpoint.CanonicalHost(strings.ToLower(name)), "."), port: port}
	if trimmed := strings.Trim(repository, "/"); trimmed != "" {
		split.path = strings.Split(trimmed, "/")
	}
	return split
}

// covers says whether a repository, as its scope, is within the scope: the same port, each label of the host, and whole segments
// of the path, so that reg/team covers reg/team/app and not reg/team-evil.
func (s scope) covers(target scope) bool {
	if s.port != target.port || len(s.labels) != len(target.labels) || len(s.path) > len(target.path) {
		return false
	}
	for i, pattern := range s.labels {
		if matched, err := path.Match(pattern, target.labels[i]); err != nil || !matched {
			return false
		}
	}
	return slices.Equal(s.path, target.path[:len(s.path)])
}

// compare puts the more specific scope first: the longer path, then the host with fewer wildcards.
func (s scope) compare(other scope) int {
	return cmp.Or(cmp.Compare(len(other.path), len(s.path)), cmp.Compare(s.wildcards(), other.wildcards()))
}

func (s scope) wildcards() int {
	count := 0
	for _, label := range s.labels {
		if strings.ContainsAny(label, `*?[\`) {
			count++
		}
	}
	return count
}

func (s scope) String() string {
	return strings.Join(s.labels, ".") + ":" + s.port + "/" + strings.Join(s.path, "/")
}
