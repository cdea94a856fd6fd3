//go:build faults

package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

const (
	// storedTags exist before the manager starts, and newTags are created beside the copies, in namespaces of tagsPerNamespace
	// each.
	storedTags, newTags, tagsPerNamespace = 10_000, 500, 500
	// copies is the number of copied images, each of copiedLayers layers of layerSize.
	copies, copiedLayers, layerSize = 8, 4, 32 << 20
	// creators is the number of Tags that are created concurrently.
	creators = 16
)

// TestTenThousandTagsBesideCopies: a manager starts with 10,000 stored Tags, copies eight images of 128 MiB and imports 500
// Tags.
func TestTenThousandTagsBesideCopies(t *testing.T) {
	w := newWorldWithoutManager(t) // not in parallel: two cores are busy with it
	cached := w.cachedTags()
	w.storeTags()
	w.startManager()
	for _, tag := range cached {
		w.Create(tag)
	}
	neighbour := w.tag(other, "app", false)
	w.Create(neighbour)
	w.awaitReady(patience, neighbour)
	w.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}})
	w.eachOf(newTags, func(ctx context.Context, i int) error {
		return w.Client.Create(ctx, w.tag("new", fmt.Sprintf("tag-%d", i), false))
	})
	w.awaitReady(settled, cached...)
	w.awaitImports(newTags + copies + 1)
	w.endure()
}

// storeTags stores Tags as a manager leaves them after five imports. The definition has no status subresource meanwhile, so
// that each needs one write.
func (w *world) storeTags() {
	w.T.Helper()
	root, err := cluster.Root()
	w.Must(err)
	text, err := os.ReadFile(filepath.Join(root, "config", "crd", "bases", "images.io_tags.yaml"))
	w.Must(err)
	var definition apiextensionsv1.CustomResourceDefinition
	w.Must(yaml.UnmarshalStrict(text, &definition))
	definition.Spec.Versions[0].Subresources = nil
	_, err = envtest.InstallCRDs(w.Cluster.Config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{&definition}})
	w.Must(err)
	namespace := func(i int) string { return fmt.Sprintf("stored-%d", i/tagsPerNamespace) }
	for i := 0; i < storedTags; i += tagsPerNamespace {
		w.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace(i)}})
	}
	w.eachOf(storedTags, func(ctx context.Context, i int) error {
		tag := w.tag(namespace(i), fmt.Sprintf("tag-%d", i), false)
		tag.Spec.Generation = new(int64(v1.DefaultHistoryLimit - 1))
		tag.MarkAdmitted()
		now := metav1.Now()
		for generation := range int64(v1.DefaultHistoryLimit) {
			digest := fmt.Sprintf("sha256:%064x", generation)
			tag.RecordImport(v1.Reference{
				Generation: generation, From: tag.Spec.From, ImportedAt: now, Trigger: v1.TriggerUser, ImageReference: tag.Spec.From + "@" + digest,
			})
		}
		return w.Client.Create(ctx, tag)
	})
}

// eachOf calls do for 0 to count-1, some concurrently.
func (w *world) eachOf(count int, do func(ctx context.Context, i int) error) {
	w.T.Helper()
	group, ctx := errgroup.WithContext(w.T.Context())
	group.SetLimit(creators)
	for i := range count {
		group.Go(func() error { return do(ctx, i) })
	}
	w.Must(group.Wait())
}

// cachedTags pushes the images to copy. Each Tag is in a namespace of its own, so that all copies may run concurrently.
func (w *world) cachedTags() (tags []*v1.Tag) {
	w.T.Helper()
	for i := range copies {
		image, err := random.Image(layerSize, copiedLayers)
		w.Must(err)
		source := fmt.Sprintf("%s/large-%d", w.registry.Address, i)
		w.Must(crane.Push(image, source, crane.WithContext(w.T.Context())))
		owner := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("copies-%d", i)}}
		w.Create(owner)
		tag := w.tag(owner.Name, "large", true)
		tag.Spec.From = source
		tags = append(tags, tag)
	}
	return tags
}

// awaitImports waits until so many Tags are imported, by the metrics of each Tag.
func (w *world) awaitImports(count int) {
	w.T.Helper()
	w.await(settled, func(ctx context.Context) (bool, error) {
		imports, err := w.imports(ctx)
		return imports >= count, err
	})
	w.T.Logf("%d Tags were imported", count)
}

func (w *world) imports(ctx context.Context) (int, error) {
	const name = "\ntagger_import_success_total "
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.manager.MetricsURL, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	_, after, _ := bytes.Cut(metrics, []byte(name))
	value, _, _ := bytes.Cut(after, []byte("\n"))
	return strconv.Atoi(string(value))
}
