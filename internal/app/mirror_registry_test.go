package app

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"golang.org/x/net/http/httpproxy"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/test/cluster"
)

// user and password are the internal registry's.
const user, password = "pusher", "correct-horse-battery-staple"

// yard is a source, and an internal registry with a password, both real.
type yard struct {
	t              *testing.T
	source, target *cluster.Registry
	mirror         *mirror
	tag            *v1.Tag
}

func newYard(t *testing.T, target cluster.RegistryOptions) *yard {
	t.Helper()
	y := &yard{t: t, tag: &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "myapp"}}}
	y.source = y.start(cluster.RegistryOptions{})
	target.Username, target.Password = user, password
	y.target = y.start(target)
	conf := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(conf, []byte("[[registry]]\nlocation = \""+y.source.Address+"\"\ninsecure = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{RegistriesConf: conf, Proxy: &httpproxy.Config{}, Cache: config.CacheRegistry{Address: y.target.Address, Username: user, Password: password, Insecure: true}}
	cfg.Mirror.Attachments = true
	all, err := newRegistries(cfg)
	if err != nil {
		t.Fatal(err)
	}
	y.mirror = all.mirror
	return y
}

func (y *yard) start(options cluster.RegistryOptions) *cluster.Registry {
	y.t.Helper()
	options.Dir = y.t.TempDir()
	registry, err := cluster.StartRegistry(y.t.Context(), options)
	if err != nil {
		y.t.Fatal(err)
	}
	y.t.Cleanup(func() { _ = registry.Stop() })
	return registry
}

// copied pushes a build with a signature and copies it as a generation.
func (y *yard) copied(build string, generation int64) v1.MirroredImage {
	y.t.Helper()
	from := y.source.Address + "/company/myapp"
	digest, err := cluster.PushImage(y.t.Context(), from+":latest", build)
	if err != nil {
		y.t.Fatal(err)
	}
	if _, err := cluster.PushImage(y.t.Context(), from+":"+strings.Replace(digest, ":", "-", 1)+".sig", "signature of "+build); err != nil {
		y.t.Fatal(err)
	}
	source, err := reference.Parse(from+":latest", "")
	if err != nil {
		y.t.Fatal(err)
	}
	at := y.repository()
	_, err = y.mirror.Copy(y.t.Context(), importer.Order{
		Source: source, Digest: digest, Namespace: "dev", To: at, Generation: generation, Progress: func(importer.Progress) {},
	})
	if err != nil {
		y.t.Fatal(err)
	}
	return v1.MirroredImage{Generation: generation, ImageReference: at.AtDigest(digest)}
}

func (y *yard) repository() reference.MirrorRepository {
	y.t.Helper()
	mirror, err := y.mirror.Destination()
	if err != nil {
		y.t.Fatal(err)
	}
	at, err := mirror.Repository(y.tag.Namespace, y.tag.Name)
	if err != nil {
		y.t.Fatal(err)
	}
	return at
}

// has fails the test unless the repository has just those tags.
func (y *yard) has(why string, want ...string) {
	y.t.Helper()
	credentials := crane.WithAuth(&authn.Basic{Username: user, Password: password})
	got, err := crane.ListTags(y.repository().String(), crane.Insecure, credentials)
	if err != nil && len(want) > 0 {
		y.t.Fatal(err)
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		y.t.Errorf("%s: it has the tags %v, want %v", why, got, want)
	}
}

func signature(image v1.MirroredImage) string {
	_, digest, _ := strings.Cut(image.ImageReference, "@")
	return strings.Replace(digest, ":", "-", 1) + ".sig"
}

func TestAGenerationIsTakenAwayWithAllThatIsAttached(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{})
	first, second, same := y.copied("0", 0), y.copied("1", 1), y.copied("1", 2)
	y.has("three were copied", "0", "1", "2", signature(first), signature(second))
	remove := func(image v1.MirroredImage, shared bool) {
		t.Helper()
		for range 2 { // after a crash it is done again
			if err := y.mirror.Remove(t.Context(), y.tag, image, shared); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove(first, false)
	y.has("the first is not needed", "1", "2", signature(second))
	remove(second, true)
	y.has("another one is the same image", "2", signature(same))
	if digest, err := y.mirror.Holds(t.Context(), y.repository(), "2"); err != nil || !strings.HasSuffix(same.ImageReference, "@"+digest) || digest == "" {
		t.Errorf("it has %q, %v", digest, err)
	}
	remove(same, false)
	y.has("all are taken away")
}

func TestAGenerationThatIsAttachedToAnotherOneStays(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{})
	first, second := y.copied("0", 0), y.copied("signature of 0", 1)
	y.tag.Status.Mirrored = []v1.MirroredImage{first, second}
	if err := y.mirror.Remove(t.Context(), y.tag, first, false); err != nil {
		t.Fatal(err)
	}
	y.has("the second is a generation, too", "1", signature(second))
}

func TestARegistryThatForbidsDeletionSaysSo(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{NoDeletion: true})
	image := y.copied("0", 0)
	if err := y.mirror.Remove(t.Context(), y.tag, image, false); !errors.Is(err, importer.ErrDeletionForbidden) {
		t.Errorf("got %v", err)
	}
	if err := y.mirror.Remove(t.Context(), y.tag, image, true); err != nil {
		t.Errorf("got %v, want the other generation to be told", err)
	}
	y.has("it forbids deletion", "0", signature(image))
}
