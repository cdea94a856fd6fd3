package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/tag/prune"
	"github.com/images-io/tagger/internal/config"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/manifest"
	"github.com/images-io/tagger/internal/registry/throttle"
	"github.com/images-io/tagger/internal/transfer"
)

// mirror is the internal registry: the one of the environment, or else the one of a ConfigMap (KEP-1755), which may change at
// any time.
type mirror struct {
	client      *registry.Client
	credentials config.CacheRegistry

	mu sync.Mutex
	at reference.Mirror
	// problem says why there is no internal registry.
	problem error
	changed func()
}

var (
	_ importer.Mirror = &mirror{}
	_ prune.Registry  = &mirror{}
)

// deletionsAtOnce is the number of manifests of an image that are deleted concurrently.
const deletionsAtOnce = 8

var errNoMirror = errors.New("spec.cache is true, and Tagger has no internal registry: set CACHE_REGISTRY_ADDRESS in the Secret cache-registry of Tagger's namespace and restart the manager, " +
	"or create the ConfigMap local-registry-hosting in the namespace kube-public (KEP-1755); or set spec.cache to false to use the image from its source")

func newMirror(client *registry.Client, cfg config.CacheRegistry) (*mirror, error) {
	m := &mirror{client: client, credentials: cfg, problem: errNoMirror, changed: func() {}}
	if cfg.Address == "" {
		m.credentials = config.CacheRegistry{Insecure: true} // the KEP has plain HTTP and no passwords
		return m, nil
	}
	m.at, m.problem = reference.ParseMirror(cfg.Address, cfg.Address)
	return m, m.problem
}

// watch uses the ConfigMap, unless the environment sets the internal registry.
func (m *mirror) watch(ctx context.Context, mgr ctrl.Manager) error {
	if m.problem == nil {
		return nil
	}
	hosting, err := mgr.GetCache().GetInformer(ctx, &corev1.ConfigMap{})
	if err != nil {
		return fmt.Errorf("watching the ConfigMap of the internal registry: %w", err)
	}
	_, err = hosting.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    m.learn,
		UpdateFunc: func(_, updated any) { m.learn(updated) },
		DeleteFunc: func(any) { m.set(reference.Mirror{}, errNoMirror) },
	})
	if err != nil {
		return fmt.Errorf("watching the ConfigMap of the internal registry: %w", err)
	}
	return nil
}

func (m *mirror) learn(object any) {
	hosting, ok := object.(*corev1.ConfigMap)
	if !ok {
		return
	}
	at, err := localRegistry(hosting.Data)
	if err != nil {
		err = fmt.Errorf("the ConfigMap %s in the namespace %s cannot be used: %w", hosting.Name, hosting.Namespace, err)
		ctrl.Log.WithName("mirror").Error(err, "invalid ConfigMap, continuing without an internal registry")
	}
	m.set(at, err)
}

func (m *mirror) set(at reference.Mirror, problem error) {
	m.mu.Lock()
	isNews := m.at != at || fmt.Sprint(m.problem) != fmt.Sprint(problem)
	m.at, m.problem = at, problem
	changed := m.changed
	m.mu.Unlock()
	if isNews {
		ctrl.Log.WithName("mirror").Info("the internal registry changed", "address", at.String(), "configured", problem == nil)
		changed()
	}
}

// onChange sets the function that is called when the internal registry changes.
func (m *mirror) onChange(changed func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed = changed
}

// Destination returns the current internal registry.
func (m *mirror) Destination() (reference.Mirror, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.problem != nil {
		return reference.Mirror{}, notConfigured{m.problem}
	}
	return m.at, nil
}

// Copy copies an image.
func (m *mirror) Copy(ctx context.Context, request importer.CopyRequest) (transfer.CopyResult, error) {
	return m.copy(ctx, request, m.client.Copy)
}

// CopyAttachments copies what was attached to an image after the image was copied.
func (m *mirror) CopyAttachments(ctx context.Context, request importer.CopyRequest) (transfer.CopyResult, error) {
	return m.copy(ctx, request, m.client.CopyAttachments)
}

// copy hands a request to the registry client.
func (m *mirror) copy(ctx context.Context, request importer.CopyRequest, do func(context.Context, registry.CopyRequest) (transfer.CopyResult, error)) (transfer.CopyResult, error) {
	keyring, _, err := readKeyring(ctx, m.client, request.Source, request.Secrets) // resolving the image reported the problems
	if err != nil {
		return transfer.CopyResult{}, err
	}
	copied, err := do(ctx, registry.CopyRequest{
		Source: request.Source, Digest: request.Digest, Keyring: keyring, Namespace: request.Namespace,
		Destination: m.repository(request.Destination), Tag: strconv.FormatInt(request.Generation, 10), Progress: request.Report,
	})
	logDetail(ctx, err, request.Namespace)
	return copied, err
}

// Head asks for a tag or a digest.
func (m *mirror) Head(ctx context.Context, dst reference.MirrorRepository, identifier string) (string, error) {
	return m.client.Head(ctx, m.repository(dst), identifier)
}

// Remove deletes the tag of a generation, and its manifests with all their referrers. Manifests that a kept image needs stay:
// one platform may have been a generation, or may become one.
func (m *mirror) Remove(ctx context.Context, tag *v1.Tag, image v1.MirroredImage, kept []string) error {
	mirror, err := m.Destination()
	if err != nil {
		return err
	}
	at, err := mirror.Repository(tag.Namespace, tag.Name)
	if err != nil {
		return err
	}
	digest, isHere := at.DigestOf(image.ImageReference)
	if !isHere {
		return fmt.Errorf("%s is not in %s: %w", image.ImageReference, at, transfer.ErrOtherRegistry)
	}
	to := m.repository(at)
	untagged := m.client.Untag(ctx, to, strconv.FormatInt(image.Generation, 10))
	if throttle.IsThrottled(untagged) {
		return untagged
	}
	levels, err := m.client.ListManifests(ctx, to, kept...)
	if err != nil {
		return err
	}
	needed := slices.Concat(levels...)
	if slices.Contains(needed, digest) {
		return unlessForbidden(untagged) // it is deleted with the last image that needs it
	}
	if err := m.delete(ctx, to, digest, needed); err != nil {
		return err
	}
	return m.removeAttached(ctx, to, digest, needed)
}

// delete deletes the manifests of an image, apart from those that are needed: the image's own first, then those that it names.
// Some registries refuse to delete a manifest that an index names. A tag that remains always has a complete image.
func (m *mirror) delete(ctx context.Context, to registry.Destination, image string, needed []string) error {
	levels, err := m.client.ListManifests(ctx, to, image)
	if err != nil {
		return err
	}
	for _, level := range levels {
		group, deleting := errgroup.WithContext(ctx)
		group.SetLimit(deletionsAtOnce)
		for _, digest := range level {
			if !slices.Contains(needed, digest) {
				group.Go(func() error { return m.client.Delete(deleting, to, digest) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// removeAttached deletes the referrers of a deleted image that have tags. Those that are also needed stay.
func (m *mirror) removeAttached(ctx context.Context, to registry.Destination, image string, needed []string) error {
	for _, name := range manifest.AttachmentTags(image) {
		attached, err := m.client.Head(ctx, to, name)
		switch {
		case err != nil || attached == "":
		case slices.Contains(needed, attached):
			err = unlessForbidden(m.client.Untag(ctx, to, name))
		default:
			err = m.delete(ctx, to, attached, needed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func unlessForbidden(err error) error {
	if errors.Is(err, transfer.ErrDeletionForbidden) {
		return nil
	}
	return err
}

// repository returns the repository to write to, with the internal registry's own credentials.
func (m *mirror) repository(at reference.MirrorRepository) registry.Destination {
	return registry.Destination{
		Address: at.Address, Path: at.Path, Insecure: m.credentials.Insecure, Username: m.credentials.Username, Password: m.credentials.Password,
	}
}

// notConfigured is a failure that an administrator fixes.
type notConfigured struct{ error }

// Reason implements importer.Failure.
func (notConfigured) Reason() v1.Reason { return v1.ReasonMirrorNotConfigured }
