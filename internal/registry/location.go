package registry

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/regerr"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

// location is where an image is asked for, after registries.conf.
type location struct {
	// registry is the host as go-containerregistry contacts it: index.docker.io for docker.io.
	registry name.Registry
	// host is the same as people write it: docker.io.
	host string
	// repository is the path, without the host.
	repository string
	// identifier is the tag, or the digest.
	identifier string
	// digest is the digest asked for, and empty for a tag.
	digest digest.Digest
	// insecure: the administrator allows TLS without verification, and plain HTTP.
	insecure bool
	// deletes and writes are what we want there beside reading, and mountsFrom is the repository that a blob is mounted from.
	deletes, writes bool
	mountsFrom      string
	// admitted are the hosts that may be connected to for it, whatever addresses they have.
	admitted map[string]bool
	// text names the image in errors, and the place where it differs.
	text string
}

// newLocation is the one place that turns a name into go-containerregistry's. It makes a name.Registry and no
// name.Reference, because the latter refuses repositories of one letter, which the distribution-spec allows.
func newLocation(source, asked reference.Source, insecure bool) (location, error) {
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(asked.Registry(), options...)
	if err != nil {
		return location{}, regerr.New(v1.ReasonInvalidReference, err, "%s: %q is no registry's name; correct spec.from", source, asked.Registry())
	}
	text := source.String()
	if asked.String() != text {
		text += " (asked for at " + asked.String() + ")"
	}
	return location{
		registry:   registry,
		host:       asked.Registry(),
		repository: strings.TrimPrefix(asked.Repository(), asked.Registry()+"/"),
		identifier: strings.TrimPrefix(asked.String(), asked.Repository())[1:],
		digest:     digest.Digest(asked.Digest()),
		insecure:   insecure,
		text:       text,
	}, nil
}

// manifestURL is where the distribution-spec has manifests (section "Pulling manifests").
func (l location) manifestURL(scheme string) string { return l.url(scheme, "manifests/"+l.identifier) }

// blobURL is where it has blobs (section "Pulling blobs").
func (l location) blobURL(scheme string, of digest.Digest) string {
	return l.url(scheme, "blobs/"+of.String())
}

// url is an address in the repository.
func (l location) url(scheme, path string) string {
	address := url.URL{Scheme: scheme, Host: l.registry.RegistryStr(), Path: "/v2/" + l.repository + "/" + path}
	return address.String()
}

// isOurs says that we write there.
func (l location) isOurs() bool { return l.writes || l.deletes }

// tagged is where a tag is.
func (l location) tagged(tag string) location {
	l.identifier, l.digest = tag, ""
	return l
}

// child is where a manifest is that an index names.
func (l location) child(of digest.Digest) location {
	l.identifier, l.digest = of.String(), of
	return l
}

// scopes are what a token must allow (distribution's token authentication, "Resource scope").
func (l location) scopes() []string {
	actions := "pull"
	switch {
	case l.deletes:
		actions = "pull,delete"
	case l.writes:
		actions = "pull,push"
	}
	scopes := []string{l.scope(actions)}
	if l.mountsFrom != "" {
		scopes = append(scopes, "repository:"+l.mountsFrom+":pull")
	}
	return scopes
}

// scope allows actions in the repository.
func (l location) scope(actions string) string { return "repository:" + l.repository + ":" + actions }

// passageKey tells repositories apart, and what the administrator allows on the way there.
func (l location) passageKey() string {
	return l.registry.RegistryStr() + " " + strings.Join(l.scopes(), " ") + " " + strconv.FormatBool(l.insecure)
}

// key tells questions apart, and by their text also those of different sources that lead to one place: the answer may be
// an error, which names the source.
func (l location) key() string { return l.passageKey() + " " + l.identifier + " " + l.text }

// address is the host as contacted.
func (l location) address() string {
	return addressOf(&url.URL{Scheme: "https", Host: l.registry.RegistryStr()})
}

// takes says whether the digest can be the answer: any for a tag, the very same for a digest.
func (l location) takes(found digest.Digest) bool { return l.digest == "" || l.digest == found }

// algorithm is that of the digest asked for.
func (l location) algorithm() digest.Algorithm {
	if l.digest == "" {
		return digest.Canonical
	}
	return l.digest.Algorithm()
}

// subject returns what errors about the location say.
func (l location) subject() regerr.Subject {
	return regerr.Subject{Text: l.text, Host: l.host, Identifier: l.identifier, Insecure: l.insecure, IsMirror: l.isOurs()}
}
