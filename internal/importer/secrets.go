package importer

import (
	"context"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A namespace may hold any number of secrets of up to 1 MiB each, and none of them is needed for long.
const (
	// maxSecretBytes bounds the Docker configuration of one pull secret, and maxNamespaceBytes those of a namespace together.
	maxSecretBytes    = 256 << 10
	maxNamespaceBytes = 1 << 20
	// minSecretBytes is what a secret counts for at least, so that their number is bounded, too.
	minSecretBytes = 4 << 10
	// maxListedBytes bounds what is read of a namespace to find them, secrets that are too large included.
	maxListedBytes = 64 << 20
	// secretsPerPage bounds the secrets that are in memory for one read, and namespaceReads and secretReads the concurrent reads, of one
	// namespace and in all: about 100 MiB of the largest secrets that an API server stores. Reads are concurrent because the API server
	// takes up to 100 ms for each list while other objects change: it waits until its cache is current (KEP-2340).
	secretsPerPage = 2
	namespaceReads = 8
	secretReads    = 16
)

// pullSecretKeys are the types of secrets that hold registry credentials, and the key that holds them.
var pullSecretKeys = []struct {
	kind corev1.SecretType
	key  string
}{
	{corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey},
	{corev1.SecretTypeDockercfg, corev1.DockerConfigKey},
}

// secretLocks bound the memory for pull secrets: reads admits several callers, parse one.
type secretLocks struct {
	made         sync.Once
	reads, parse NamespaceLock
}

// PullSecrets reads the pull secrets of one namespace and hands them to parse, which must not keep them. The secrets that are too
// large are in tooLarge, by name. An error is the API server's; parse is not called then.
type PullSecrets func(ctx context.Context, parse func([]corev1.Secret)) (tooLarge []error, err error)

// pullSecrets returns the reader of the namespace's pull secrets. It waits for other reads.
func (i *Importer) pullSecrets(namespace string) PullSecrets {
	return func(ctx context.Context, parse func([]corev1.Secret)) ([]error, error) {
		unlock, err := i.secretLock().Lock(ctx, namespace)
		if err != nil {
			return nil, err
		}
		defer unlock()
		var found boundedSecrets
		for _, kind := range pullSecretKeys {
			if err := i.listSecrets(ctx, namespace, kind.kind, kind.key, &found); err != nil {
				return nil, fmt.Errorf("reading the pull secrets of namespace %s: %w", namespace, err)
			}
		}
		parsed, err := i.secretLocks.parse.Lock(ctx, namespace)
		if err != nil {
			return nil, err
		}
		defer parsed()
		parse(found.secrets)
		return found.problems(namespace), nil
	}
}

// secretLock returns the lock of reads of pull secrets.
func (i *Importer) secretLock() *NamespaceLock {
	i.secretLocks.made.Do(func() {
		i.secretLocks.reads.PerNamespace, i.secretLocks.reads.Total = namespaceReads, secretReads
	})
	return &i.secretLocks.reads
}

// listSecrets adds the secrets of one type, in the order of their names.
func (i *Importer) listSecrets(ctx context.Context, namespace string, kind corev1.SecretType, key string, found *boundedSecrets) error {
	next := ""
	for {
		var page corev1.SecretList
		err := i.Secrets.List(ctx, &page, client.InNamespace(namespace), client.MatchingFields{"type": string(kind)},
			client.Limit(secretsPerPage), client.Continue(next))
		if err != nil {
			return err
		}
		for j := range page.Items {
			found.add(&page.Items[j], key)
		}
		if next = page.Continue; next == "" || found.unread != "" {
			return nil
		}
	}
}

// boundedSecrets are the pull secrets of a namespace that are within the bounds.
type boundedSecrets struct {
	secrets       []corev1.Secret
	bytes, listed int
	// large names the secrets that are too large, and unread the first one that was not read because all before it are.
	large  []string
	unread string
}

// add keeps of a secret what is parsed.
func (b *boundedSecrets) add(secret *corev1.Secret, key string) {
	content, hasContent := secret.Data[key]
	b.listed += secret.Size()
	switch size := max(len(content), minSecretBytes); {
	case b.unread != "":
	case b.listed > maxListedBytes || len(content) <= maxSecretBytes && b.bytes+size > maxNamespaceBytes:
		b.unread = secret.Name
	case len(content) > maxSecretBytes:
		b.large = append(b.large, secret.Name)
	default:
		b.bytes += size
		kept := corev1.Secret{Type: secret.Type, Data: map[string][]byte{}}
		kept.Namespace, kept.Name = secret.Namespace, secret.Name
		if hasContent {
			kept.Data[key] = content
		}
		b.secrets = append(b.secrets, kept)
	}
}

// problems names what is left out.
func (b *boundedSecrets) problems(namespace string) (problems []error) {
	if len(b.large) > 0 {
		problems = append(problems, fmt.Errorf("in namespace %s these pull secrets are larger than %d KiB and are not used: %s; remove the entries that the namespace does not need, or split the secret",
			namespace, maxSecretBytes>>10, strings.Join(b.large, ", ")))
	}
	if b.unread != "" {
		problems = append(problems, fmt.Errorf("pull secret %s/%s and those after it are not used, because those before it reach the limit: %d secrets or %d MiB that are used, and %d MiB in all; remove pull secrets that the namespace does not need",
			namespace, b.unread, maxNamespaceBytes/minSecretBytes, maxNamespaceBytes>>20, maxListedBytes>>20))
	}
	return problems
}
