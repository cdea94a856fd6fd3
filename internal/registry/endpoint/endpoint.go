package endpoint

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// Endpoint is where an image is asked for, after registries.conf.
type Endpoint struct {
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
	MountFrom       string
	// AllowedHosts are the hosts that may be connected to for it, whatever addresses they have.
	AllowedHosts map[string]bool
	// Text names the image in errors, and the place where it differs.
	Text string
}

// New turns a name into go-containerregistry's, and is the only function that does. It makes a name.Registry and no
// name.Reference, because the latter refuses repositories of one letter, which the distribution-spec allows.
func New(source, asked reference.Source, insecure bool) (Endpoint, error) {
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(asked.Registry(), options...)
	if err != nil {
		return Endpoint{}, regerr.New(v1.ReasonInvalidReference, err, "%s: %q is no registry's name; correct spec.from", source, asked.Registry())
	}
	text := source.String()
	if asked.String() != text {
		text += " (asked for at " + asked.String() + ")"
	}
	return Endpoint{
		Registry:   registry,
		Host:       asked.Registry(),
		Repository: strings.TrimPrefix(asked.Repository(), asked.Registry()+"/"),
		Identifier: strings.TrimPrefix(asked.String(), asked.Repository())[1:],
		Digest:     digest.Digest(asked.Digest()),
		Insecure:   insecure,
		Text:       text,
	}, nil
}

// ManifestURL returns the URL of the manifest (distribution-spec, section "Pulling manifests").
func (l Endpoint) ManifestURL(scheme string) string { return l.URL(scheme, "manifests/"+l.Identifier) }

// BlobURL returns the URL of a blob (distribution-spec, section "Pulling blobs").
func (l Endpoint) BlobURL(scheme string, dgst digest.Digest) string {
	return l.URL(scheme, "blobs/"+dgst.String())
}

// URL returns a URL in the repository.
func (l Endpoint) URL(scheme, path string) string {
	address := url.URL{Scheme: scheme, Host: l.Registry.RegistryStr(), Path: "/v2/" + l.Repository + "/" + path}
	return address.String()
}

// IsMirror says that we write there.
func (l Endpoint) IsMirror() bool { return l.Writes || l.Deletes }

// WithTag returns the endpoint of a tag of the repository.
func (l Endpoint) WithTag(tag string) Endpoint {
	l.Identifier, l.Digest = tag, ""
	return l
}

// WithDigest returns the endpoint of a manifest of the repository.
func (l Endpoint) WithDigest(dgst digest.Digest) Endpoint {
	l.Identifier, l.Digest = dgst.String(), dgst
	return l
}

// Scopes returns what a token must allow (distribution's token authentication, "Resource scope").
func (l Endpoint) Scopes() []string {
	actions := "pull"
	switch {
	case l.Deletes:
		actions = "pull,delete"
	case l.Writes:
		actions = "pull,push"
	}
	scopes := []string{l.Scope(actions)}
	if l.MountFrom != "" {
		scopes = append(scopes, "repository:"+l.MountFrom+":pull")
	}
	return scopes
}

// Scope allows actions in the repository.
func (l Endpoint) Scope(actions string) string { return "repository:" + l.Repository + ":" + actions }

// ScopeKey tells repositories apart, and what the administrator allows on the way there.
func (l Endpoint) ScopeKey() string {
	return l.Registry.RegistryStr() + " " + strings.Join(l.Scopes(), " ") + " " + strconv.FormatBool(l.Insecure)
}

// Key identifies a request, and by the text also the source: different sources may lead to one endpoint, and an error names the source.
func (l Endpoint) Key() string { return l.ScopeKey() + " " + l.Identifier + " " + l.Text }

// Address returns the host as contacted.
func (l Endpoint) Address() string {
	return AddressOf(&url.URL{Scheme: "https", Host: l.Registry.RegistryStr()})
}

// Accepts reports whether a response may have the digest: any for a tag, the same for a digest.
func (l Endpoint) Accepts(found digest.Digest) bool { return l.Digest == "" || l.Digest == found }

// Algorithm returns the algorithm of the digest, or the canonical one for a tag.
func (l Endpoint) Algorithm() digest.Algorithm {
	if l.Digest == "" {
		return digest.Canonical
	}
	return l.Digest.Algorithm()
}

// Subject returns what errors about the location say.
func (l Endpoint) Subject() regerr.Subject {
	return regerr.Subject{Text: l.Text, Host: l.Host, Identifier: l.Identifier, Insecure: l.Insecure, IsMirror: l.IsMirror()}
}
