//go:build faults

package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

// many is the number of Tags, each with a Deployment of its name.
const many = 100

// moverInterval is the interval between bursts of the mover; a burst changes at most so many Tags.
const (
	moverInterval = 400 * time.Millisecond
	moverBurst    = 8
)

// mover represents the users that change generations: people, pipelines, registries with push notifications.
type mover struct {
	*plane
	t         *testing.T
	namespace string
	random    *rand.Rand
	tags      []*movedTag

	mu                sync.Mutex
	accepted, refused map[string]int
}

// movedTag is a Tag with the requests for it.
type movedTag struct {
	name string
	// source is the index of the image that it follows, and pushed are the digests that each image had, the oldest first.
	source int
	pushed [2][]string
	// least is the oldest digest of the source that the newest generation may have; -1 without a pending request.
	least    int
	requests int
}

// move is one way to change a generation. It changes the Tag, and sets the expected digest of the newest generation.
type move struct {
	name  string
	apply func(m *mover, ctx context.Context, moved *movedTag, tag *v1.Tag) error
}

var moves = []move{
	{"upgrade", (*mover).upgrade},
	{"downgrade", (*mover).downgrade},
	{"requested check", (*mover).check},
	{"other source", (*mover).otherSource},
}

// newMover creates the Tags and the Deployments, and waits until all are imported and pinned.
func (p *plane) newMover(random *rand.Rand, namespace string) *mover {
	p.t.Helper()
	p.namespace(namespace)
	m := &mover{plane: p, t: p.t, namespace: namespace, random: rand.New(rand.NewPCG(random.Uint64(), 0)), accepted: map[string]int{}, refused: map[string]int{}}
	for i := range many {
		m.tags = append(m.tags, &movedTag{name: fmt.Sprint("app-", i), least: -1})
	}
	m.each(func(moved *movedTag) error {
		for source := range moved.pushed {
			if err := m.push(p.t.Context(), moved, source); err != nil {
				return err
			}
		}
		return retry.OnError(patientBackoff, isOutage, func() error {
			return p.client.Create(p.t.Context(), newTag(namespace, moved.name, m.image(moved, 0)))
		})
	})
	p.eventually("all Tags to be imported", func(ctx context.Context) error { return m.tagsSettled(ctx) })
	m.each(func(moved *movedTag) error {
		return retry.OnError(patientBackoff, isOutage, func() error {
			return p.client.Create(p.t.Context(), newDeployment(namespace, moved.name, moved.name))
		})
	})
	return m
}

// each calls a function for every Tag, some concurrently.
func (m *mover) each(do func(*movedTag) error) {
	m.t.Helper()
	work := make(chan *movedTag)
	var workers sync.WaitGroup
	var failed atomic.Bool
	for range moverBurst {
		workers.Go(func() {
			for moved := range work {
				if err := do(moved); err != nil {
					m.t.Errorf("%s: %v", moved.name, err)
					failed.Store(true)
				}
			}
		})
	}
	for _, moved := range m.tags {
		work <- moved
	}
	close(work)
	workers.Wait()
	if failed.Load() {
		m.t.FailNow()
	}
}

// start changes Tags until stop is called.
func (m *mover) start() (stop func()) {
	ctx, cancel := context.WithCancel(m.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = wait.PollUntilContextCancel(ctx, moverInterval, true, func(context.Context) (bool, error) {
			m.burst(m.t.Context()) // without a timeout: the result of an interrupted request would be unknown
			return false, nil
		})
	}()
	return func() {
		cancel()
		<-ended
		m.t.Logf("accepted: %v, refused: %v", m.accepted, m.refused)
	}
}

// burst changes some Tags concurrently, none twice.
func (m *mover) burst(ctx context.Context) {
	var moving sync.WaitGroup
	for _, i := range m.random.Perm(len(m.tags))[:1+m.random.IntN(moverBurst)] {
		way := moves[m.random.IntN(len(moves))]
		moving.Go(func() { m.move(ctx, way, m.tags[i]) })
	}
	moving.Wait()
}

// move changes one Tag. The API server may reject it: no manager responds, or the Tag changed meanwhile.
func (m *mover) move(ctx context.Context, way move, moved *movedTag) {
	var tag v1.Tag
	err := m.client.Get(ctx, client.ObjectKey{Namespace: m.namespace, Name: moved.name}, &tag)
	if err == nil {
		err = way.apply(m, ctx, moved, &tag)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		m.accepted[way.name]++
	case ctx.Err() != nil:
	case apierrors.IsConflict(err) || isOutage(err) || isTrimmedAway(err):
		m.refused[way.name]++
	default:
		m.t.Errorf("%s of %s: %v", way.name, moved.name, err)
	}
}

// upgrade requests a new generation, of a new image half of the time.
func (m *mover) upgrade(ctx context.Context, moved *movedTag, tag *v1.Tag) error {
	if tag.Reference(tag.WantedGeneration()) == nil {
		return nil // an import in progress may have the digest from before
	}
	if len(moved.pushed[moved.source])%2 == 0 {
		if err := m.push(ctx, moved, moved.source); err != nil {
			return err
		}
	}
	if err := m.request(ctx, tag, tag.Newest().Generation+1); err != nil {
		return err
	}
	moved.asked()
	return nil
}

// downgrade selects an existing generation.
func (m *mover) downgrade(ctx context.Context, moved *movedTag, tag *v1.Tag) error {
	known := tag.Status.References
	to := known[len(moved.pushed[0])%len(known)].Generation
	if err := m.request(ctx, tag, to); err != nil {
		return err
	}
	isPending := tag.Annotations[v1.AnnotationRequestedCheck] != tag.Status.LastHandledRequest
	if tag.Reference(tag.WantedGeneration()) == nil && !isPending {
		moved.least = -1 // it cancels the former request
	}
	return nil
}

// check pushes a new image, and requests a check. One time in three there is no new image.
func (m *mover) check(ctx context.Context, moved *movedTag, tag *v1.Tag) error {
	moved.requests++
	if moved.requests%3 != 0 {
		if err := m.push(ctx, moved, moved.source); err != nil {
			return err
		}
	}
	if err := m.annotate(ctx, tag, v1.AnnotationRequestedCheck, strconv.Itoa(moved.requests), "push"); err != nil {
		return err
	}
	moved.asked()
	return nil
}

// otherSource changes spec.from, which makes a generation by itself.
func (m *mover) otherSource(ctx context.Context, moved *movedTag, tag *v1.Tag) error {
	before := tag.DeepCopy()
	tag.Spec.From = m.image(moved, 1-moved.source)
	if err := m.client.Patch(ctx, tag, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner("kubectl-edit")); err != nil {
		return err
	}
	moved.source = 1 - moved.source
	moved.asked()
	return nil
}

// asked expects the newest generation to have the current digest of the source, or a later one.
func (t *movedTag) asked() { t.least = len(t.pushed[t.source]) - 1 }

func (m *mover) request(ctx context.Context, tag *v1.Tag, generation int64) error {
	return m.annotate(ctx, tag, v1.AnnotationRequestedGeneration, strconv.FormatInt(generation, 10), "kubectl-tag")
}

// annotate writes one annotation of exactly the version that was read.
func (m *mover) annotate(ctx context.Context, tag *v1.Tag, key, value, manager string) error {
	before := tag.DeepCopy()
	tag = tag.DeepCopy()
	if tag.Annotations == nil {
		tag.Annotations = map[string]string{}
	}
	tag.Annotations[key] = value
	return m.client.Patch(ctx, tag, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(manager))
}

// patch sends a merge patch, and retries while admission does not respond.
func (p *plane) patch(object client.Object, text string, options ...client.PatchOption) error {
	return retry.OnError(patientBackoff, isOutage, func() error {
		return p.client.Patch(p.t.Context(), object, client.RawPatch(types.MergePatchType, []byte(text)), options...)
	})
}

// patientBackoff retries until another manager takes over.
var patientBackoff = wait.Backoff{Duration: 100 * time.Millisecond, Steps: int(patience / (100 * time.Millisecond))}

// isOutage reports an error of a webhook without a manager.
func isOutage(err error) bool {
	return apierrors.IsInternalError(err) && strings.Contains(err.Error(), "failed calling webhook")
}

// isTrimmedAway reports that a generation was trimmed between the read and the request: the API server calls admission before
// it finds the conflict.
func isTrimmedAway(err error) bool {
	return strings.Contains(err.Error(), "is not one of the imported generations")
}

func (m *mover) image(moved *movedTag, source int) string {
	return fmt.Sprintf("%s/%s/%s:%d", m.address, m.namespace, moved.name, source)
}

func (m *mover) push(ctx context.Context, moved *movedTag, source int) error {
	content := fmt.Sprint(m.namespace, moved.name, source, len(moved.pushed[source]))
	digest, err := cluster.PushImage(ctx, m.image(moved, source), content)
	if err == nil {
		moved.pushed[source] = append(moved.pushed[source], digest)
	}
	return err
}

// isAsked returns an error unless the Tag's newest generation is the requested one.
func (m *mover) isAsked(moved *movedTag, tag *v1.Tag) error {
	if moved.least < 0 {
		return nil
	}
	newest := tag.Newest()
	digest, _ := digestOf(newest.ImageReference)
	if got := slices.Index(moved.pushed[moved.source], digest); newest.From != m.image(moved, moved.source) || got < moved.least {
		return fmt.Errorf("the newest generation %d is %s, push %d of %s; asked for was push %d of %s", newest.Generation, digest, got, newest.From, moved.least, m.image(moved, moved.source))
	}
	return nil
}
