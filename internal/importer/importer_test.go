package importer_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/reference"
)

const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// registry notes what it is asked, and with which secrets.
type registry struct {
	mu      sync.Mutex // of asked
	asked   []string
	secrets []string
	err     error
	turn    error
}

func (r *registry) Resolve(ctx context.Context, source reference.Source, secrets importer.PullSecrets, _ importer.Terms) (string, []error, error) {
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

func (r *registry) Turn(context.Context, reference.Source) error { return r.turn }

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

func TestAnImportIsAnImageByDigestWithThePullSecretsOfItsNamespace(t *testing.T) {
	asked := &registry{}
	image, err := (&importer.Importer{Registry: asked, Secrets: secrets()}).Import(t.Context(), tagFrom("quay.io/company/myapp"), importer.Terms{})
	if err != nil || image.Reference != "quay.io/company/myapp@"+digest || image.Digest != digest {
		t.Errorf("got %+v, %v", image, err)
	}
	slices.Sort(asked.secrets)
	if !slices.Equal(asked.secrets, []string{"new", "old"}) || !slices.Equal(asked.asked, []string{"quay.io/company/myapp:latest"}) {
		t.Errorf("asked for %v with %v", asked.asked, asked.secrets)
	}
}

func TestAnUnqualifiedSourceBelongsToTheAdministratorsRegistry(t *testing.T) {
	image, err := (&importer.Importer{Registry: &registry{}, Secrets: secrets()}).Import(t.Context(), tagFrom("myapp"), importer.Terms{})
	if err != nil || image.Reference != "registry.example.com/myapp@"+digest {
		t.Errorf("got %+v, %v", image, err)
	}
}

func TestWhatIsNoReferenceIsAFailureAndNobodyIsAsked(t *testing.T) {
	asked := &registry{}
	_, err := (&importer.Importer{Registry: asked, Secrets: secrets()}).Import(t.Context(), tagFrom("quay.io/A b"), importer.Terms{})
	var failure importer.Failure
	if !errors.As(err, &failure) || failure.Reason() != v1.ReasonInvalidReference || len(asked.asked) != 0 {
		t.Errorf("got %v after asking for %v", err, asked.asked)
	}
}

func TestAFaultOfTheAPIServerIsNoFailure(t *testing.T) {
	broken := interceptor.NewClient(secrets(), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("no answer")
		},
	})
	_, err := (&importer.Importer{Registry: &registry{}, Secrets: broken}).Import(t.Context(), tagFrom("quay.io/company/myapp"), importer.Terms{})
	var failure importer.Failure
	if err == nil || errors.As(err, &failure) {
		t.Errorf("got %v, want an error that is no Failure", err)
	}
}

// TestSecretsAreNotReadWhenItIsNotTheTagsTurn: thousands of Tags may come back once a second.
func TestSecretsAreNotReadWhenItIsNotTheTagsTurn(t *testing.T) {
	unread := interceptor.NewClient(secrets(), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("the secrets were read")
		},
	})
	later := errors.New("others are there")
	asked := &registry{turn: later}
	_, err := (&importer.Importer{Registry: asked, Secrets: unread}).Check(t.Context(), tagFrom("quay.io/company/myapp"), importer.Terms{})
	if !errors.Is(err, later) || len(asked.asked) != 0 {
		t.Errorf("got %v after asking for %v", err, asked.asked)
	}
}
