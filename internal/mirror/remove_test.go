package mirror_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/mirror"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/copier"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/throttle"
	"github.com/images-io/tagger/internal/transfer"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
	"github.com/images-io/tagger/test/ledger"
)

// user and password are the internal registry's.
const user, password = "pusher", "correct-horse-battery-staple"

// yard is a source, and an internal registry with a password, both real.
type yard struct {
	t              *testing.T
	source, target *cluster.Registry
	mirror         *mirror.Mirror
	tag            *v1.Tag
}

// setup is how a yard's internal registry is reached, and what is copied to it.
type setup struct {
	cache  config.CacheRegistry
	copies copier.Limits
}

func newYard(t *testing.T, target cluster.RegistryOptions, change ...func(*setup)) *yard {
	t.Helper()
	y := &yard{t: t, tag: &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "myapp"}}}
	y.source = y.start(cluster.RegistryOptions{})
	target.Username, target.Password = user, password
	y.target = y.start(target)
	used := setup{
		cache:  config.CacheRegistry{Address: y.target.Address, Username: user, Password: password, Insecure: true},
		copies: copier.Limits{Attachments: true},
	}
	for _, apply := range change {
		apply(&used)
	}
	y.mirror = newMirror(t, registry.Options{Copies: used.copies}, used.cache, y.source.Address)
	return y
}

// newMirror returns an internal registry, for sources that speak plain HTTP.
func newMirror(t *testing.T, options registry.Options, cache config.CacheRegistry, sources ...string) *mirror.Mirror {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "registries.conf")
	if err := harness.WriteRegistriesConf(conf, sources...); err != nil {
		t.Fatal(err)
	}
	configuration, err := registriesconf.Load(conf, func(err error) { t.Error(err) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	options.Configuration = configuration
	made, err := mirror.New(registry.New(options), cache)
	if err != nil {
		t.Fatal(err)
	}
	return made
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

// guarded puts a guard before the internal registry, which may respond instead.
func guarded(t *testing.T, answer func(target http.Handler, w http.ResponseWriter, r *http.Request)) func(*setup) {
	return func(used *setup) {
		target := ledger.Behind(used.cache.Address)
		guard := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(target, w, r) }))
		t.Cleanup(guard.Close)
		used.cache.Address = guard.Listener.Addr().String()
	}
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
	return y.copy(":latest", digest, generation)
}

// platforms pushes an image, and an index of it and of another one.
func (y *yard) platforms() (platform, other, index string) {
	y.t.Helper()
	from := y.source.Address + "/company/myapp"
	images := make([]gcr.Image, 2)
	var both gcr.ImageIndex = empty.Index
	for i := range images {
		made, err := random.Image(1<<10, 1)
		if err != nil {
			y.t.Fatal(err)
		}
		images[i], both = made, mutate.AppendManifests(both, mutate.IndexAddendum{Add: made})
	}
	for _, push := range []func() error{
		func() error { return crane.Push(images[0], from+":amd64", crane.Insecure) },
		func() error {
			latest, err := name.ParseReference(from + ":latest")
			if err != nil {
				return err
			}
			return remote.WriteIndex(latest, both)
		},
	} {
		if err := push(); err != nil {
			y.t.Fatal(err)
		}
	}
	return y.digest(images[0]), y.digest(images[1]), y.digest(both)
}

func (y *yard) digest(of interface{ Digest() (gcr.Hash, error) }) string {
	y.t.Helper()
	digest, err := of.Digest()
	if err != nil {
		y.t.Fatal(err)
	}
	return digest.String()
}

// copy copies an image of the source as a generation.
func (y *yard) copy(tag, digest string, generation int64) v1.MirroredImage {
	y.t.Helper()
	source, err := reference.Parse(y.source.Address+"/company/myapp"+tag, "")
	if err != nil {
		y.t.Fatal(err)
	}
	at := y.repository()
	_, err = y.mirror.Copy(y.t.Context(), importer.CopyRequest{
		Source: source, Secrets: noPullSecrets, Digest: digest, Namespace: "dev", Destination: at, Generation: generation, Report: func(transfer.Progress) {},
	})
	if err != nil {
		y.t.Fatal(err)
	}
	return v1.MirroredImage{Generation: generation, ImageReference: at.AtDigest(digest)}
}

func (y *yard) repository() reference.MirrorRepository {
	y.t.Helper()
	destination, err := y.mirror.Destination()
	if err != nil {
		y.t.Fatal(err)
	}
	at, err := destination.Repository(y.tag.Namespace, y.tag.Name)
	if err != nil {
		y.t.Fatal(err)
	}
	return at
}

// has fails the test unless the repository has exactly those tags.
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

// remove deletes a generation while others are kept.
func (y *yard) remove(image v1.MirroredImage, kept ...v1.MirroredImage) {
	y.t.Helper()
	for range 2 { // a crash repeats it
		if err := y.mirror.Remove(y.t.Context(), y.tag, image, digestsOf(kept...)); err != nil {
			y.t.Fatal(err)
		}
	}
}

func digestsOf(images ...v1.MirroredImage) (digests []string) {
	for _, image := range images {
		_, digest, _ := strings.Cut(image.ImageReference, "@")
		digests = append(digests, digest)
	}
	return digests
}

// holds returns those of the digests that the repository has.
func (y *yard) holds(digests ...string) (held []string) {
	y.t.Helper()
	for _, digest := range digests {
		got, err := y.mirror.Head(y.t.Context(), y.repository(), digest)
		if err != nil {
			y.t.Fatal(err)
		}
		if got != "" {
			held = append(held, digest)
		}
	}
	return held
}

func TestRemove_DeletesReferrers(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{})
	first, second, same := y.copied("0", 0), y.copied("1", 1), y.copied("1", 2)
	y.has("three were copied", "0", "1", "2", signature(first), signature(second))
	y.remove(first, second, same)
	y.has("the first is not needed", "1", "2", signature(second))
	y.remove(second, same)
	y.has("another one is the same image", "2", signature(same))
	if want := digestsOf(same); !slices.Equal(y.holds(want...), want) {
		t.Error("the same image is gone")
	}
	y.remove(same)
	y.has("all are taken away")
}

// TestRemove_KeepsPlatformOfKeptImage: a Tag with one platform gets several, or the reverse.
func TestRemove_KeepsPlatformOfKeptImage(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{})
	platform, other, index := y.platforms()
	alone := y.copy(":amd64", platform, 0)
	all := y.copy(":latest", index, 1)

	y.remove(alone, all)
	y.has("the index needs it", "1")
	if want := []string{index, platform, other}; !slices.Equal(y.holds(want...), want) {
		t.Errorf("of %v it has %v", want, y.holds(want...))
	}
	alone = y.copy(":amd64", platform, 2)
	y.remove(all, alone)
	y.has("one platform is left", "2")
	if held := y.holds(index, platform, other); !slices.Equal(held, []string{platform}) {
		t.Errorf("it has %v, want %s only", held, platform)
	}
	y.remove(alone)
	if held := y.holds(index, platform, other); len(held) > 0 {
		t.Errorf("in the end it has %v", held)
	}
}

func TestCopy_IgnoredReferrers(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{}, func(used *setup) { used.copies.Attachments = false })
	y.copied("0", 0)
	y.has("--mirror-attachments=false", "0")
}

func TestRemove_KeepsReferrerOfKeptImage(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{})
	first, second := y.copied("0", 0), y.copied("signature of 0", 1)
	y.remove(first, second)
	y.has("the second is a generation, too", "1", signature(second))
}

// TestRemove_ManyReferrers: the index of referrers may be longer than that of an image.
func TestRemove_ManyReferrers(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{})
	from := y.source.Address + "/company/myapp"
	made, err := random.Image(1<<8, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(made, from+":latest", crane.Insecure); err != nil {
		t.Fatal(err)
	}
	size, err := made.Size()
	if err != nil {
		t.Fatal(err)
	}
	digest := y.digest(made)
	subject := gcr.Descriptor{MediaType: types.DockerManifestSchema2, Digest: gcr.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(digest, "sha256:")}, Size: size}
	attached := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for range 65 {
		one, err := random.Image(1<<8, 1)
		if err != nil {
			t.Fatal(err)
		}
		one = mutate.Subject(mutate.MediaType(one, types.OCIManifestSchema1), subject).(gcr.Image)
		attached = mutate.AppendManifests(attached, mutate.IndexAddendum{Add: one})
	}
	tag, err := name.ParseReference(from + ":" + strings.Replace(digest, ":", "-", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, attached); err != nil {
		t.Fatal(err)
	}
	y.remove(y.copy(":latest", digest, 0))
	y.has("all are taken away")
}

// TestRemove_IncompleteImageLosesItsTag: the registry deletes manifests but no tags, and fails in the middle.
func TestRemove_IncompleteImageLosesItsTag(t *testing.T) {
	var deletions atomic.Int32
	y := newYard(t, cluster.RegistryOptions{}, guarded(t, func(target http.Handler, w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete && !strings.Contains(r.URL.Path, "sha256:"):
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.Method == http.MethodDelete && deletions.Add(1) == 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			target.ServeHTTP(w, r)
		}
	}))
	platform, other, index := y.platforms()
	image := y.copy(":latest", index, 0)
	if err := y.mirror.Remove(t.Context(), y.tag, image, nil); err == nil {
		t.Error("it goes away, and all is well")
	}
	if tagged, err := y.mirror.Head(t.Context(), y.repository(), "0"); err != nil || tagged != "" {
		t.Errorf("half of it is there under its tag: %s, %v", tagged, err)
	}
	y.remove(image)
	if left := y.holds(platform, other, index); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestRemove_DoesNotWaitForOthers: another request probes the unresponsive registry, and Remove sends none.
func TestRemove_DoesNotWaitForOthers(t *testing.T) {
	var requests atomic.Int32
	held, release := make(chan struct{}), make(chan struct{})
	y := newYard(t, cluster.RegistryOptions{}, guarded(t, func(target http.Handler, w http.ResponseWriter, r *http.Request) {
		number := int32(0)
		if strings.Contains(r.URL.Path, "/manifests/") {
			number = requests.Add(1)
		}
		switch number {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 2:
			close(held)
			<-release
		}
		target.ServeHTTP(w, r)
	}))
	tried := make(chan error, 1)
	go func() {
		tried <- wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			_, err := y.mirror.Head(ctx, y.repository(), "0")
			return err == nil, nil
		})
	}()
	<-held
	image := v1.MirroredImage{ImageReference: y.repository().AtDigest("sha256:" + strings.Repeat("0", 64))}
	if err := y.mirror.Remove(t.Context(), y.tag, image, nil); !throttle.IsThrottled(err) || requests.Load() != 2 {
		t.Errorf("got %v after %d requests", err, requests.Load())
	}
	close(release)
	if err := <-tried; err != nil {
		t.Error(err)
	}
	if err := y.mirror.Remove(t.Context(), y.tag, image, nil); err != nil {
		t.Error(err)
	}
}

// TestRemove_SilentRegistry uses the real limits: otherwise each deletion would block a worker.
func TestRemove_SilentRegistry(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it accepts connections, and reads nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	address := silent.Addr().String()
	internal := newMirror(t, registry.Options{}, config.CacheRegistry{Address: address, Insecure: true})
	tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "myapp"}}
	image := v1.MirroredImage{ImageReference: address + "/dev/myapp@sha256:" + strings.Repeat("0", 64)}
	var said error
	for range 3 {
		if said = internal.Remove(t.Context(), tag, image, nil); strings.Contains(said.Error(), "is not asked before") {
			return
		}
	}
	t.Errorf("it is asked again and again: %v", said)
}

// TestRemove_IndexBeforePlatforms: zot, Google Artifact Registry and ECR refuse to delete a manifest that an index names.
func TestRemove_IndexBeforePlatforms(t *testing.T) {
	var index string
	y := newYard(t, cluster.RegistryOptions{}, guarded(t, func(target http.Handler, w http.ResponseWriter, r *http.Request) {
		_, identifier, _ := strings.Cut(r.URL.Path, "/manifests/")
		if r.Method == http.MethodDelete && strings.HasPrefix(identifier, "sha256:") && identifier != index {
			head := httptest.NewRecorder()
			asked := r.Clone(r.Context())
			asked.Method, asked.URL.Path = http.MethodHead, strings.Replace(r.URL.Path, identifier, index, 1)
			if target.ServeHTTP(head, asked); head.Code == http.StatusOK {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
		}
		target.ServeHTTP(w, r)
	}))
	platform, other, both := y.platforms()
	index = both
	y.remove(y.copy(":latest", index, 0))
	if left := y.holds(platform, other, index); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestRemove_ManifestThatStays: the registry deletes the tag, and not the manifest.
func TestRemove_ManifestThatStays(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{}, guarded(t, func(target http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "sha256:") {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		target.ServeHTTP(w, r)
	}))
	if err := y.mirror.Remove(t.Context(), y.tag, y.copied("0", 0), nil); !errors.Is(err, transfer.ErrDeletionForbidden) {
		t.Errorf("got %v", err)
	}
}

func TestRemove_DeletionForbidden(t *testing.T) {
	y := newYard(t, cluster.RegistryOptions{NoDeletion: true})
	image := y.copied("0", 0)
	if err := y.mirror.Remove(t.Context(), y.tag, image, nil); !errors.Is(err, transfer.ErrDeletionForbidden) {
		t.Errorf("got %v", err)
	}
	if err := y.mirror.Remove(t.Context(), y.tag, image, digestsOf(image)); err != nil {
		t.Errorf("got %v, want the other generation to be told", err)
	}
	y.has("it forbids deletion", "0", signature(image))
}

// noPullSecrets returns no pull secrets.
func noPullSecrets(_ context.Context, read func([]corev1.Secret)) ([]error, error) {
	read(nil)
	return nil, nil
}
