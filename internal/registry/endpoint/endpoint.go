package endpoint

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

// Location is where an image is asked for, after registries.conf.
type Location struct {
	// Registry is the host as go-containerregistry contacts it: index.docker.io for docker.io.
	Registry name.Registry
	// Host is the same as people write it: docker.io.
	Host string
	// Repository is the path, without the host.
	Repository string
	// Identifier is the tag, or the digest.
	Identifier string
	// Digest is the digest asked for, and empty for a tag.
	Digest digest.Digest
	// Insecure: the administrator allows TLS without verification, and plain HTTP.
	Insecure bool
	// Deletes and writes are what we want there beside reading, and mountsFrom is the repository that a blob is mounted from.
	Deletes, Writes bool
	MountsFrom      string
	// Admitted are the hosts that may be connected to for it, whatever addresses they have.
	Admitted map[string]bool
	// Text names the image in errors, and the place where it differs.
	Text string
}

// NewLocation is the one place that turns a name into go-containerregistry's. It makes a name.Registry and no
// name.Reference, because the latter refuses repositories of one letter, which the distribution-spec allows.
func NewLocation(source, asked reference.Source, insecure bool) (Location, error) {
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(asked.Registry(), options...)
	if err != nil {
		return Location{}, regerr.New(v1.ReasonInvalidReference, err, "%s: %q is no registry's name; correct spec.from", source, asked.Registry())
	}
	text := source.String()
	if asked.String() != text {
		text += " (asked for at " + asked.String() + ")"
	}
	return Location{
		Registry:   registry,
		Host:       asked.Registry(),
		Repository: strings.TrimPrefix(asked.Repository(), asked.Registry()+"/"),
		Identifier: strings.TrimPrefix(asked.String(), asked.Repository())[1:],
		Digest:     digest.Digest(asked.Digest()),
		Insecure:   insecure,
		Text:       text,
	}, nil
}

// ManifestURL is where the distribution-spec has manifests (section "Pulling manifests").
func (l Location) ManifestURL(scheme string) string { return l.Url(scheme, "manifests/"+l.Identifier) }

// BlobURL is where it has blobs (section "Pulling blobs").
func (l Location) BlobURL(scheme string, of digest.Digest) string {
	return l.Url(scheme, "blobs/"+of.String())
}

// Url is an address in the repository.
func (l Location) Url(scheme, path string) string {
	address := url.URL{Scheme: scheme, Host: l.Registry.RegistryStr(), Path: "/v2/" + l.Repository + "/" + path}
	return address.String()
}

// IsOurs says that we write there.
func (l Location) IsOurs() bool { return l.Writes || l.Deletes }

// Tagged is where a tag is.
func (l Location) Tagged(tag string) Location {
	l.Identifier, l.Digest = tag, ""
	return l
}

// Child is where a manifest is that an index names.
func (l Location) Child(of digest.Digest) Location {
	l.Identifier, l.Digest = of.String(), of
	return l
}

// Scopes are what a token must allow (distribution's token authentication, "Resource scope").
func (l Location) Scopes() []string {
	actions := "pull"
	switch {
	case l.Deletes:
		actions = "pull,delete"
	case l.Writes:
		actions = "pull,push"
	}
	scopes := []string{l.Scope(actions)}
	if l.MountsFrom != "" {
		scopes = append(scopes, "repository:"+l.MountsFrom+":pull")
	}
	return scopes
}

// Scope allows actions in the repository.
func (l Location) Scope(actions string) string { return "repository:" + l.Repository + ":" + actions }

// PassageKey tells repositories apart, and what the administrator allows on the way there.
func (l Location) PassageKey() string {
	return l.Registry.RegistryStr() + " " + strings.Join(l.Scopes(), " ") + " " + strconv.FormatBool(l.Insecure)
}

// Key tells questions apart, and by their text also those of different sources that lead to one place: the answer may be
// an error, which names the source.
func (l Location) Key() string { return l.PassageKey() + " " + l.Identifier + " " + l.Text }

// Address is the host as contacted.
func (l Location) Address() string {
	return AddressOf(&url.URL{Scheme: "https", Host: l.Registry.RegistryStr()})
}

// Takes says whether the digest can be the answer: any for a tag, the very same for a digest.
func (l Location) Takes(found digest.Digest) bool { return l.Digest == "" || l.Digest == found }

// Algorithm is that of the digest asked for.
func (l Location) Algorithm() digest.Algorithm {
	if l.Digest == "" {
		return digest.Canonical
	}
	return l.Digest.Algorithm()
}

// Subject returns what errors about the location say.
func (l Location) Subject() regerr.Subject {
	return regerr.Subject{Text: l.Text, Host: l.Host, Identifier: l.Identifier, Insecure: l.Insecure, IsMirror: l.IsOurs()}
}
