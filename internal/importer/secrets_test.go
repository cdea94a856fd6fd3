package importer_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/jobs"
	"github.com/images-io/tagger/internal/reference"
)

// pagedSecrets lists secrets in pages as an API server does, and notes what it sends. The fake client knows no pages.
type pagedSecrets struct {
	client.Reader
	all []corev1.Secret
	mu  sync.Mutex
	// sent counts secrets, and largest is the largest page in bytes.
	sent, largest int
}

func (p *pagedSecrets) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var asked client.ListOptions
	asked.ApplyOptions(options)
	begin, _ := strconv.Atoi(asked.Continue)
	page, bytes := list.(*corev1.SecretList), 0
	for i := begin; i < len(p.all); i++ {
		secret := &p.all[i]
		if secret.Namespace != asked.Namespace || !asked.FieldSelector.Matches(fields.Set{"type": string(secret.Type)}) {
			continue
		}
		if asked.Limit > 0 && int64(len(page.Items)) == asked.Limit {
			page.Continue = strconv.Itoa(i)
			break
		}
		page.Items = append(page.Items, *secret.DeepCopy())
		bytes += secret.Size()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent, p.largest = p.sent+len(page.Items), max(p.largest, bytes)
	return nil
}

// sized is a pull secret of the namespace dev whose configuration has so many KiB.
func sized(name string, kib int) corev1.Secret {
	return corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: name}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: make([]byte, kib<<10)},
	}
}

func several(prefix string, count, kib int) (secrets []corev1.Secret) {
	for i := range count {
		secrets = append(secrets, sized(fmt.Sprintf("%s-%03d", prefix, i), kib))
	}
	return secrets
}

func TestPullSecretsAreBounded(t *testing.T) {
	const mib = 1 << 20
	for _, row := range []struct {
		name    string
		secrets []corev1.Secret
		// used are the secrets that are handed on, named those that a problem names, and sent bounds what is listed.
		used  int
		named []string
		sent  int
	}{
		{name: "all that fit", secrets: several("fits", 20, 8), used: 20, sent: 20},
		{name: "one of 256 KiB", secrets: several("fits", 1, 256), used: 1, sent: 1},
		{name: "one of 257 KiB beside a small one", secrets: append(several("large", 1, 257), sized("small", 1)), used: 1, named: []string{"large-000"}, sent: 2},
		{name: "five of 555 KiB", secrets: several("large", 5, 555), named: []string{"large-000", "large-004"}, sent: 5},
		{name: "60 of 1 MiB, and a small one at the end", secrets: append(several("large", 60, 1008), sized("small", 1)), used: 1, named: []string{"large-000"}, sent: 61},
		{name: "2 MiB of those that fit", secrets: several("fits", 16, 128), used: 8, named: []string{"fits-008"}, sent: 16},
		{name: "more than 64 MiB of those that do not", secrets: several("large", 200, 1008), named: []string{"large-000"}, sent: 72},
		{name: "10,000 that are empty", secrets: several("empty", 10000, 0), used: 256, named: []string{"empty-256"}, sent: 258},
	} {
		t.Run(row.name, func(t *testing.T) {
			api := &pagedSecrets{all: row.secrets}
			asked := &registry{}
			image, err := imported(t, asked, api, tagFrom("quay.io/company/myapp"))
			if err != nil || len(asked.secrets) != row.used || api.sent > row.sent || api.largest > 3*mib {
				t.Errorf("%d secrets are used, %d listed with pages of up to %d bytes (%v); want %d and at most %d", len(asked.secrets), api.sent, api.largest, err, row.used, row.sent)
			}
			text := fmt.Sprint(image.Malformed)
			for _, name := range row.named {
				if !strings.Contains(text, name) {
					t.Errorf("%.200s does not name %s", text, name)
				}
			}
			if len(row.named) == 0 && len(image.Malformed) > 0 {
				t.Errorf("a problem without a reason: %s", text)
			}
		})
	}
}

// parsing is a registry whose parser waits to be released.
type parsing struct {
	registry
	began, release chan string
}

func (p *parsing) Resolve(ctx context.Context, _ reference.Source, secrets importer.PullSecrets, options importer.ResolveOptions) (string, []error, error) {
	_, err := secrets(ctx, func([]corev1.Secret) {
		p.began <- options.Namespace
		<-p.release
	})
	return digest, nil, err
}

// check submits checks of Tags, one of each namespace that is listed, to an importer whose jobs run.
func check(t *testing.T, asked importer.Registry, api client.Reader, namespaces ...string) (stop func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	queue := jobs.New(clock.RealClock{}, 1)
	go func() { _ = queue.Start(ctx) }()
	imports := &importer.Importer{Registry: asked, Secrets: api, Jobs: queue}
	for i, namespace := range namespaces {
		tag := tagFrom(fmt.Sprintf("host-%d.test/company/myapp", i)) // one host would bound the jobs
		tag.Namespace, tag.Name = namespace, fmt.Sprint("tag-", i)
		if _, err := imports.Check(tag, importer.Options{RequestKey: "1"}); err != nil {
			t.Fatal(err)
		}
	}
	return stop
}

func TestPullSecrets_ParsedOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := &parsing{began: make(chan string, 100), release: make(chan string)}
		namespaces := []string{"dev", "dev", "prod", "dev"}
		defer check(t, asked, &pagedSecrets{all: several("fits", 3, 8)}, namespaces...)()
		for range namespaces {
			synctest.Wait()
			if len(asked.began) != 1 {
				t.Fatalf("%d parse at a time", len(asked.began))
			}
			<-asked.began
			asked.release <- ""
		}
	})
}

// slowSecrets is an API server that answers a list only when it is released.
type slowSecrets struct {
	client.Reader
	began, release chan struct{}
}

func (s *slowSecrets) List(context.Context, client.ObjectList, ...client.ListOption) error {
	s.began <- struct{}{}
	<-s.release
	return nil
}

// TestPullSecrets_ReadConcurrently: an API server may take 100 ms for each list, which must not be the pace of all imports.
func TestPullSecrets_ReadConcurrently(t *testing.T) {
	const checks, ofNamespace, inAll = 40, 8, 16
	for _, row := range []struct {
		name string
		// namespace is that of a check, and read is how many read at once.
		namespace func(check int) string
		read      int
	}{
		{"all of one namespace", func(int) string { return "dev" }, ofNamespace},
		{"each of a namespace of its own", func(check int) string { return fmt.Sprint("dev-", check) }, inAll},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &slowSecrets{began: make(chan struct{}, 3*checks), release: make(chan struct{})}
				asked := &parsing{began: make(chan string, checks), release: make(chan string)}
				close(asked.release)
				var namespaces []string
				for i := range checks {
					namespaces = append(namespaces, row.namespace(i))
				}
				defer check(t, asked, api, namespaces...)()
				synctest.Wait()
				if len(api.began) != row.read {
					t.Errorf("%d read, want %d", len(api.began), row.read)
				}
				close(api.release)
				synctest.Wait()
				if len(asked.began) != checks {
					t.Errorf("%d of %d are read in the end", len(asked.began), checks)
				}
			})
		})
	}
}
