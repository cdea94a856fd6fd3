package importer_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
	"github.com/images-io/tagger/internal/reference"
)

const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// registry notes what it is asked, and with which secrets.
type registry struct {
	mu      sync.Mutex // of asked
	asked   []string
	secrets []string
	err     error
}

func (r *registry) Resolve(ctx context.Context, source reference.Source, secrets importer.PullSecrets, _ importer.ResolveOptions) (string, []error, error) {
	r.mu.Lock()
	r.asked = append(r.asked, source.String())
	r.mu.Unlock()
	tooLarge, err := secrets(ctx, func(read []corev1.Secret) {
		for i := range read {
			r.secrets = append(r.secrets, read[i].Name)
		}
	})
	if err != nil {
		return "", nil, err
	}
	return digest, tooLarge, r.err
}

func (r *registry) UnqualifiedRegistry() string { return "registry.example.com" }

func secret(namespace, name string, kind corev1.SecretType) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: kind}
}

// secrets is an API server with pull secrets of two namespaces, and other secrets.
func secrets() client.WithWatch {
	byType := func(object client.Object) []string { return []string{string(object.(*corev1.Secret).Type)} }
	return fake.NewClientBuilder().WithIndex(&corev1.Secret{}, "type", byType).WithObjects(
		secret("dev", "new", corev1.SecretTypeDockerConfigJson), secret("dev", "old", corev1.SecretTypeDockercfg),
		secret("dev", "opaque", corev1.SecretTypeOpaque), secret("prod", "other", corev1.SecretTypeDockerConfigJson),
	).Build()
}

func tagFrom(from string) *v1.Tag {
	return &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "myapp"}, Spec: v1.TagSpec{From: from}}
}

// imported imports a Tag, and waits for the job of an importer that has no internal registry.
func imported(t *testing.T, asked importer.Registry, api client.Reader, tag *v1.Tag) (importer.Result, error) {
	t.Helper()
	queue, ended := jobs.New(clock.RealClock{}, 1), make(chan types.NamespacedName, 1)
	queue.OnEnd(func(tag types.NamespacedName) { ended <- tag })
	go func() { _ = queue.Start(t.Context()) }()
	imports := &importer.Importer{Registry: asked, Secrets: api, Jobs: queue}
	first, err := imports.Import(tag, importer.Options{RequestKey: "1"})
	if err != nil || first.State == importer.Done {
		return first, err
	}
	<-ended
	return imports.Import(tag, importer.Options{RequestKey: "1"})
}

func TestImport_UsesPullSecretsOfNamespace(t *testing.T) {
	asked := &registry{}
	image, err := imported(t, asked, secrets(), tagFrom("quay.io/company/myapp"))
	if err != nil || image.Reference != "quay.io/company/myapp@"+digest || image.Digest != digest {
		t.Errorf("got %+v, %v", image, err)
	}
	slices.Sort(asked.secrets)
	if !slices.Equal(asked.secrets, []string{"new", "old"}) || !slices.Equal(asked.asked, []string{"quay.io/company/myapp:latest"}) {
		t.Errorf("asked for %v with %v", asked.asked, asked.secrets)
	}
}

func TestImport_UnqualifiedSource(t *testing.T) {
	image, err := imported(t, &registry{}, secrets(), tagFrom("myapp"))
	if err != nil || image.Reference != "registry.example.com/myapp@"+digest {
		t.Errorf("got %+v, %v", image, err)
	}
}

func TestImport_InvalidReference(t *testing.T) {
	asked := &registry{}
	_, err := imported(t, asked, secrets(), tagFrom("quay.io/A b"))
	var failure importer.Failure
	if !errors.As(err, &failure) || failure.Reason() != v1.ReasonInvalidReference || len(asked.asked) != 0 {
		t.Errorf("got %v after asking for %v", err, asked.asked)
	}
}

func TestImport_APIServerFails(t *testing.T) {
	broken := interceptor.NewClient(secrets(), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("no answer")
		},
	})
	_, err := imported(t, &registry{}, broken, tagFrom("quay.io/company/myapp"))
	var failure importer.Failure
	if err == nil || errors.As(err, &failure) {
		t.Errorf("got %v, want an error that is not a Failure", err)
	}
}

// throttled says that nothing was done.
type throttled struct{ error }

func (throttled) Deferred() time.Duration { return 3 * time.Second }

func TestImport_Throttled(t *testing.T) {
	got, err := imported(t, &registry{err: throttled{errors.New("later")}}, secrets(), tagFrom("quay.io/company/myapp"))
	if err != nil || got.State != importer.Deferred || got.RetryAfter != 3*time.Second {
		t.Errorf("got %+v, %v", got, err)
	}
}
