package reference

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// Mirror is an internal registry. Where we write and where nodes read may be two addresses of one registry (KEP-1755).
type Mirror struct{ push, pull place }

// place is host[:port], and a prefix of the paths there, which may be empty.
type place struct{ host, prefix string }

// MirrorRepository is where the images of a Tag are in the internal registry.
type MirrorRepository struct {
	// Address is host[:port], where we write.
	Address string
	// Path is the repository there: [prefix/]namespace/tag.
	Path string
	// pulled is the repository as nodes name it.
	pulled string
}

// ParseMirror reads the two addresses, each host[:port][/prefix], with or without a scheme. Its errors do not repeat what was
// written, which may hold a password.
func ParseMirror(push, pull string) (Mirror, error) {
	pushed, err := parsePlace(push)
	if err != nil {
		return Mirror{}, err
	}
	pulled, err := parsePlace(pull)
	return Mirror{push: pushed, pull: pulled}, err
}

func parsePlace(address string) (place, error) {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	address = strings.TrimSuffix(address, "/")
	host, prefix, _ := strings.Cut(address, "/")
	const sample = "namespace/tag"
	if !isQualified(host + "/" + sample) {
		return place{}, fmt.Errorf("the host has neither a dot nor a port, so nodes would look for it at %s; write the port, such as registry:443", DefaultRegistry)
	}
	at := place{host: host, prefix: prefix}
	named, err := reference.ParseNamed(at.repository(sample))
	if err != nil || reference.Domain(named) != host {
		return place{}, fmt.Errorf("it is not host[:port][/prefix], with the prefix in lower case")
	}
	return at, nil
}

func (p place) repository(path string) string { return p.host + "/" + p.path(path) }

func (p place) path(path string) string {
	if p.prefix == "" {
		return path
	}
	return p.prefix + "/" + path
}

// String is where nodes read.
func (m Mirror) String() string { return strings.TrimSuffix(m.pull.repository(""), "/") }

// Address is host[:port] of where we write.
func (m Mirror) Address() string { return m.push.host }

// Repository is where the images of a Tag are: at <address>[/prefix]/<namespace>/<tag>.
func (m Mirror) Repository(namespace, tag string) (MirrorRepository, error) {
	path := namespace + "/" + tag
	for _, at := range []place{m.push, m.pull} {
		if _, err := reference.ParseNamed(at.repository(path)); err != nil {
			return MirrorRepository{}, fmt.Errorf("%s/%s: %w", m, path, err)
		}
	}
	return MirrorRepository{Address: m.push.host, Path: m.push.path(path), pulled: m.pull.repository(path)}, nil
}

// AtDigest is the image of that digest, as nodes get it.
func (r MirrorRepository) AtDigest(imageDigest string) string { return r.pulled + "@" + imageDigest }

// DigestOf is the digest of an image that is in the repository.
func (r MirrorRepository) DigestOf(image string) (imageDigest string, ok bool) {
	repository, imageDigest, ok := Split(image)
	return imageDigest, ok && repository == r.pulled
}

// String is the repository as nodes name it.
func (r MirrorRepository) String() string { return r.pulled }
