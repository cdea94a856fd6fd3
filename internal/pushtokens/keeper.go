package pushtokens

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/images-io/tagger/api/v1"
)

const (
	// tokenBits is the entropy of a token that the Keeper makes.
	tokenBits = 256
	// minLength is the shortest token that counts, in bytes: 128 bits in base64.
	minLength = 22
	// previous is the suffix of the key of a token that is valid until its key is removed.
	previous = ".previous"
	// firstRetry and lastRetry are the shortest and the longest wait after a failure.
	firstRetry, lastRetry = 100 * time.Millisecond, 10 * time.Second
)

// Keeper creates the Secret and the tokens that it lacks, and never changes one. It runs on every replica.
type Keeper struct {
	secret  types.NamespacedName
	senders []string
	client  client.Client
	// tokens are the valid tokens of each sender; nil while the Secret is not known.
	tokens atomic.Pointer[map[string][][]byte]
}

// Add adds a Keeper of a Secret to the manager. The Secret has a key for each sender.
func Add(mgr ctrl.Manager, secret types.NamespacedName, senders []string) (*Keeper, error) {
	named := cache.Config{FieldSelector: fields.OneTermEqualSelector("metadata.name", secret.Name)}
	// A separate cache: the manager's own has only the metadata of Secrets.
	objects, err := cluster.New(mgr.GetConfig(), func(options *cluster.Options) {
		options.Scheme, options.HTTPClient, options.Logger = mgr.GetScheme(), mgr.GetHTTPClient(), mgr.GetLogger()
		options.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mgr.GetRESTMapper(), nil }
		options.Cache = cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject:         map[client.Object]cache.ByObject{&corev1.Secret{}: {Namespaces: map[string]cache.Config{secret.Namespace: named}}},
		}
	})
	if err != nil {
		return nil, fmt.Errorf("watching the Secret of push notifications: %w", err)
	}
	k := &Keeper{secret: secret, senders: senders, client: objects.GetClient()}
	always := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: secret}}
	})
	first := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{NamespacedName: secret}) // no event says that the Secret is missing
		return nil
	})
	if err := mgr.Add(objects); err != nil {
		return nil, fmt.Errorf("watching the Secret of push notifications: %w", err)
	}
	return k, ctrl.NewControllerManagedBy(mgr).Named("push-tokens").
		WatchesRawSource(source.Kind(objects.GetCache(), client.Object(&corev1.Secret{}), always)).
		WatchesRawSource(first).
		WithOptions(controller.Options{
			NeedLeaderElection: ptr.To(false), // every replica authenticates
			RateLimiter:        workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(k)
}

// Tokens returns the valid tokens of a sender. It returns false while the Secret is not known.
func (k *Keeper) Tokens(sender string) (tokens [][]byte, known bool) {
	all := k.tokens.Load()
	if all == nil {
		return nil, false
	}
	return (*all)[sender], true
}

// Reconcile creates what the Secret lacks, and makes its tokens valid.
func (k *Keeper) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	secret := &corev1.Secret{Type: corev1.SecretTypeOpaque}
	secret.Namespace, secret.Name = k.secret.Namespace, k.secret.Name
	if err := client.IgnoreNotFound(k.client.Get(ctx, k.secret, secret)); err != nil {
		return ctrl.Result{}, fmt.Errorf("reading the Secret of push notifications: %w", err)
	}
	if added := k.complete(secret); len(added) > 0 {
		if err := k.write(ctx, secret); err != nil {
			return ctrl.Result{}, lostRace(err)
		}
		log.FromContext(ctx).Info("tokens created for senders of push notifications", "secret", k.secret.String(), "senders", added)
		return ctrl.Result{}, nil // the watch reports the write
	}
	valid, short := k.parse(secret.Data)
	k.tokens.Store(&valid)
	if len(short) > 0 {
		log.FromContext(ctx).Info("tokens are too short, and not valid; delete a key to get a new token", "secret", k.secret.String(), "keys", short, "minimum", minLength)
	}
	return ctrl.Result{}, nil
}

// complete adds a token for each sender that has none, and returns these senders.
func (k *Keeper) complete(secret *corev1.Secret) (added []string) {
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	for _, sender := range k.senders {
		if _, exists := secret.Data[sender]; !exists {
			secret.Data[sender] = newToken()
			added = append(added, sender)
		}
	}
	return added
}

// newToken returns a token that fits into a URL.
func newToken() []byte {
	random := make([]byte, tokenBits/8)
	_, _ = rand.Read(random) // it never fails
	return base64.RawURLEncoding.AppendEncode(nil, random)
}

// write creates the Secret, or updates exactly the version that was read.
func (k *Keeper) write(ctx context.Context, secret *corev1.Secret) error {
	var err error
	if secret.ResourceVersion == "" {
		err = k.client.Create(ctx, secret, client.FieldOwner(v1.FieldManager))
	} else {
		err = k.client.Update(ctx, secret, client.FieldOwner(v1.FieldManager))
	}
	if err != nil {
		return fmt.Errorf("writing the Secret of push notifications: %w", err)
	}
	return nil
}

// lostRace drops a conflict: another replica wrote first, and the watch reports that write.
func lostRace(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// parse returns the valid tokens of each sender, and the keys of values that are too short.
func (k *Keeper) parse(data map[string][]byte) (valid map[string][][]byte, short []string) {
	valid = map[string][][]byte{}
	for _, sender := range k.senders {
		for _, key := range []string{sender, sender + previous} {
			value, exists := data[key]
			if token := bytes.TrimSpace(value); len(token) >= minLength {
				valid[sender] = append(valid[sender], token)
			} else if exists {
				short = append(short, key)
			}
		}
	}
	return valid, short
}
