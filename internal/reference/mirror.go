package reference

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// Mirror is an internal registry. It may have two addresses: one to which Tagger writes and one from which nodes pull
// (KEP-1755).
type Mirror struct{ push, pull endpoint }

// endpoint is host[:port], and a prefix of the paths there, which may be empty.
type endpoint struct{ host, prefix string }

// MirrorRepository is the repository of a Tag in the internal registry.
type MirrorRepository struct {
	// Address is host[:port] for writes.
	Address string
	// Path is the repository there: [prefix/]namespace/tag.
	Path string
	// pulled is the repository in the references that nodes pull.
	pulled string
}

// ParseMirror parses the two addresses, each host[:port][/prefix], with or without a scheme. Its errors do not repeat the
// input, which may contain a password.
func ParseMirror(push, pull string) (Mirror, error) {
	pushed, err := parseEndpoint(push)
	if err != nil {
		return Mirror{}, err
	}
	pulled, err := parseEndpoint(pull)
	return Mirror{push: pushed, pull: pulled}, err
}

func parseEndpoint(address string) (endpoint, error) {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	address = strings.TrimSuffix(address, "/")
	host, prefix, _ := strings.Cut(address, "/")
	const sample = "namespace/tag"
	if !isQualified(host + "/" + sample) {
		return endpoint{}, fmt.Errorf("the host has neither a dot nor a port, so nodes would look for it at %s; write the port, such as registry:443", DefaultRegistry)
	}
	ep := endpoint{host: host, prefix: prefix}
	named, err := reference.ParseNamed(ep.repository(sample))
	if err != nil || reference.Domain(named) != host {
		return endpoint{}, fmt.Errorf("it is not host[:port][/prefix], with the prefix in lower case")
	}
	return ep, nil
}

func (e endpoint) repository(path string) string { return e.host + "/" + e.path(path) }

func (e endpoint) path(path string) string {
	if e.prefix == "" {
		return path
	}
	return e.prefix + "/" + path
}

// String returns the address from which nodes pull.
func (m Mirror) String() string { return strings.TrimSuffix(m.pull.repository(""), "/") }

// Address returns host[:port] for writes.
func (m Mirror) Address() string { return m.push.host }

// Repository returns the repository of a Tag: <address>[/prefix]/<namespace>/<tag>.
func (m Mirror) Repository(namespace, tag string) (MirrorRepository, error) {
	path := namespace + "/" + tag
	for _, ep := range []endpoint{m.push, m.pull} {
		if _, err := reference.ParseNamed(ep.repository(path)); err != nil {
			return MirrorRepository{}, fmt.Errorf("%s/%s: %w", m, path, err)
		}
	}
	return MirrorRepository{Address: m.push.host, Path: m.push.path(path), pulled: m.pull.repository(path)}, nil
}

// AtDigest returns the reference of that digest that nodes pull.
func (r MirrorRepository) AtDigest(imageDigest string) string { return r.pulled + "@" + imageDigest }

// DigestOf returns the digest of an image in the repository.
func (r MirrorRepository) DigestOf(image string) (imageDigest string, ok bool) {
	repository, imageDigest, ok := Split(image)
	return imageDigest, ok && repository == r.pulled
}

// String returns the repository in the references that nodes pull.
func (r MirrorRepository) String() string { return r.pulled }
