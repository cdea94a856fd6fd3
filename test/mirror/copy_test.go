package mirror_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/copier"
	"github.com/images-io/tagger/internal/registry/credentials"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/transport"
	"github.com/images-io/tagger/internal/transfer"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/ledger"
)

const username, password = "robot", "s3cret"

// side is a real registry, with the credentials of a client.
type side struct {
	*cluster.Registry
	options []remote.Option
	login   bool
	plain   bool
	bundle  string
	// token is the host of its token service.
	token string
}

func start(t *testing.T, kind string, change ...func(*cluster.RegistryOptions)) *side {
	t.Helper()
	options, made := cluster.RegistryOptions{Dir: t.TempDir()}, &side{plain: true}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	switch kind {
	case "passwords":
		options.Username, options.Password, made.login = username, password, true
	case "tokens":
		var service *tokenService
		service, options.Tokens = newTokenService(t, username, password)
		made.login, made.token = true, service.host
	case "TLS":
		cert, err := cluster.NewServingCert(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		options.TLS, options.Username, options.Password = cert, username, password
		made.login, made.plain, made.bundle = true, false, filepath.Join(t.TempDir(), "ca.pem")
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cert.CA)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
		if err := os.WriteFile(made.bundle, cert.CA, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, apply := range change {
		apply(&options)
	}
	var err error
	if made.Registry, err = cluster.StartRegistry(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.Stop(); err != nil {
			t.Error(err)
		}
	})
	who := authn.Anonymous
	if made.login {
		who = authn.FromConfig(authn.AuthConfig{Username: username, Password: password})
	}
	made.options = []remote.Option{remote.WithAuth(who), remote.WithTransport(transport)}
	return made
}

func (s *side) tag(t *testing.T, path, tag string) name.Reference {
	t.Helper()
	made, err := name.ParseReference(s.Address + "/" + path + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// newClient returns the client of a manager whose administrator lists the sources and the token services, and trusts their
// authorities.
func newClient(t *testing.T, source, mirror *side, change ...func(*registry.Options)) *registry.Client {
	t.Helper()
	var conf strings.Builder
	fmt.Fprintf(&conf, "[[registry]]\nlocation = %q\ninsecure = %t\n", source.Address, source.plain)
	for _, s := range []*side{source, mirror} {
		if s.token != "" {
			fmt.Fprintf(&conf, "[[registry]]\nlocation = %q\ninsecure = true\n", s.token)
		}
	}
	file := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	configuration, err := registriesconf.Load(file, func(err error) { t.Error(err) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	authorities, err := transport.LoadCABundle(bundled(t, source, mirror), func(err error) { t.Error(err) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	options := registry.Options{Options: transport.Options{Configuration: configuration, CABundle: authorities}, Copies: copier.Limits{Attachments: true}}
	for _, apply := range change {
		apply(&options)
	}
	return registry.New(options)
}

// bundled returns a file with the authorities of all, or none.
func bundled(t *testing.T, sides ...*side) string {
	t.Helper()
	var all []byte
	for _, s := range sides {
		if s.bundle == "" {
			continue
		}
		authority, err := os.ReadFile(s.bundle)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, authority...)
	}
	if len(all) == 0 {
		return ""
	}
	file := filepath.Join(t.TempDir(), "authorities.pem")
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func order(t *testing.T, source, mirror *side, digest, tag, generation string) registry.CopyRequest {
	t.Helper()
	from, err := reference.Parse(source.Address+"/team/app:latest", "")
	if err != nil {
		t.Fatal(err)
	}
	made := registry.CopyRequest{
		Source: from, Digest: digest, Tag: generation, Namespace: "shop",
		Destination: registry.Destination{Address: mirror.Address, Path: "cache/shop/" + tag, Insecure: mirror.plain},
	}
	if mirror.login {
		made.Destination.Username, made.Destination.Password = username, password
	}
	if source.login {
		made.Keyring = keyring(t, source.Address)
	}
	return made
}

func keyring(t *testing.T, host string) credentials.Keyring {
	t.Helper()
	content, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"username": username, "password": password}}})
	if err != nil {
		t.Fatal(err)
	}
	made, problems := credentials.NewKeyring([]corev1.Secret{{
		Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: content},
	}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return made
}

func copied(t *testing.T, client *registry.Client, order registry.CopyRequest) transfer.CopyResult {
	t.Helper()
	done, err := client.Copy(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// pushed pushes an index of two platforms to the source.
func pushed(t *testing.T, source *side, tag string) (gcr.ImageIndex, string) {
	t.Helper()
	index, err := random.Index(1<<16, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	index = mutate.IndexMediaType(index, types.DockerManifestList)
	if err := remote.WriteIndex(source.tag(t, "team/app", tag), index, source.options...); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return index, digest.String()
}

func TestCopiesBetweenRealRegistries(t *testing.T) {
	for _, kind := range []string{"no login", "passwords", "tokens", "TLS"} {
		t.Run(kind, func(t *testing.T) {
			source, mirror := start(t, map[string]string{"passwords": "tokens", "tokens": "passwords", "TLS": "TLS"}[kind]), start(t, kind)
			client := newClient(t, source, mirror)
			_, want := pushed(t, source, "latest")
			first := copied(t, client, order(t, source, mirror, want, "app", "0"))
			if first.Uploaded == 0 || first.Skipped+first.Mounted != 0 {
				t.Errorf("at first: %+v", first)
			}
			held, err := client.Head(t.Context(), order(t, source, mirror, want, "app", "0").Destination, "0")
			if err != nil || held != want {
				t.Errorf("the mirror has %q, %v", held, err)
			}
			pulled(t, mirror, "cache/shop/app", "0", want)
			if again := copied(t, client, order(t, source, mirror, want, "app", "1")); again.Skipped != first.Uploaded || again.Uploaded != 0 {
				t.Errorf("the next generation: %+v", again)
			}
			if other := copied(t, client, order(t, source, mirror, want, "tools", "0")); other.Mounted != first.Uploaded || other.Uploaded != 0 {
				t.Errorf("another Tag: %+v", other)
			}
			pulled(t, mirror, "cache/shop/tools", "0", want)
			if restarted := copied(t, newClient(t, source, mirror), order(t, source, mirror, want, "app", "2")); restarted.Skipped != first.Uploaded || restarted.Uploaded != 0 {
				t.Errorf("by another process: %+v", restarted)
			}
		})
	}
}

// pulled reads a whole image.
func pulled(t *testing.T, from *side, path, tag, digest string) {
	t.Helper()
	if err := ledger.Pull(from.tag(t, path, tag), digest, from.options...); err != nil {
		t.Error(err)
	}
}

func TestReferrersAtARealMirror(t *testing.T) {
	source, mirror := start(t, ""), start(t, "")
	client := newClient(t, source, mirror)
	index, want := pushed(t, source, "latest")
	size, err := index.Size()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := gcr.NewHash(want)
	if err != nil {
		t.Fatal(err)
	}
	artifact, err := random.Image(1<<10, 1)
	if err != nil {
		t.Fatal(err)
	}
	artifact = mutate.MediaType(mutate.ConfigMediaType(artifact, "application/vnd.example.sbom"), types.OCIManifestSchema1)
	artifact = mutate.Subject(artifact, gcr.Descriptor{MediaType: types.DockerManifestList, Digest: digest, Size: size}).(gcr.Image)
	attached, err := artifact.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(source.tag(t, "team/app", "attached").Context().Digest(attached.String()), artifact, source.options...); err != nil {
		t.Fatal(err)
	}
	if done := copied(t, client, order(t, source, mirror, want, "app", "0")); done.Attachments != 1 {
		t.Errorf("got %+v", done)
	}
	listed, err := remote.Referrers(mirror.tag(t, "cache/shop/app", "0").Context().Digest(want), mirror.options...)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := listed.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest != attached || manifest.Manifests[0].ArtifactType != "application/vnd.example.sbom" {
		t.Errorf("the mirror lists %+v", manifest.Manifests)
	}
}

func TestDeletionAtARealMirror(t *testing.T) {
	for _, row := range []struct {
		kind    string
		forbids bool
	}{{kind: ""}, {kind: "tokens"}, {kind: "passwords", forbids: true}} {
		t.Run(fmt.Sprintf("%s, forbidden: %v", row.kind, row.forbids), func(t *testing.T) {
			source := start(t, "")
			mirror := start(t, row.kind, func(o *cluster.RegistryOptions) { o.NoDeletion = row.forbids })
			client := newClient(t, source, mirror)
			_, want := pushed(t, source, "latest")
			at := order(t, source, mirror, want, "app", "0")
			copied(t, client, at)
			untag, remove := client.Untag(t.Context(), at.Destination, "0"), client.Delete(t.Context(), at.Destination, want)
			if errors.Is(untag, transfer.ErrDeletionForbidden) != row.forbids || errors.Is(remove, transfer.ErrDeletionForbidden) != row.forbids {
				t.Fatalf("got %v, and %v", untag, remove)
			}
			if !row.forbids && (untag != nil || remove != nil) {
				t.Fatalf("got %v, and %v", untag, remove)
			}
			held, err := client.Head(t.Context(), at.Destination, want)
			if err != nil || (held != "") != row.forbids {
				t.Errorf("the mirror has %q, %v", held, err)
			}
		})
	}
}
