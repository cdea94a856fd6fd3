//go:build faults

package crash

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

// TestProcessesThatEndBetweenTwoWrites repeats one story. Each time the leader exits at another of its writes: just before it
// sends the write, or after the write is stored and before it reads the response. The other manager takes over, and the story
// has to continue and end as it does without the exit.
func TestProcessesThatEndBetweenTwoWrites(t *testing.T) {
	t.Parallel()
	for _, where := range []string{beforeWrite, afterWrite} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			(&stories{plane: newPlane(t), where: where, interrupted: map[int64]bool{}}).playAll()
		})
	}
}

// leastWrites is the least number of writes of a story: one for each change of the status, of a Deployment and of a push's
// request, and their events. Events of the same kind may be one. mostRounds is the largest number of repetitions.
const leastWrites, mostRounds = 20, 80

// stories are the ways in which a story can be interrupted.
type stories struct {
	*plane
	where string
	// count is the last write at which a leader had to exit, rounds the number of leaders.
	count, rounds int64
	// interrupted are the writes at which a leader exited.
	interrupted map[int64]bool
	// missed are those of leaders that exited for another reason: on a busy machine one may lose its lease.
	missed []int64
	// isWhole: the story has completed with a leader whose write never came.
	isWhole bool
}

// playAll repeats the story until it has completed, and then with the missed writes.
func (s *stories) playAll() {
	s.t.Helper()
	for a, b := s.next(), s.next(); a.point.where != never || b.point.where != never; b = s.next() {
		playing := s.leads(a, b)
		s.play(playing.leader.point.namespace)
		s.hasPlayed(playing.leader)
		s.end(playing.leader)
		a = playing.other
	}
	for n := range int64(leastWrites) {
		if !s.interrupted[n+1] {
			s.t.Errorf("the story was not interrupted at %s %d", s.where, n+1)
		}
	}
}

// hasPlayed records how the leader has exited, if it has.
func (s *stories) hasPlayed(leader *manager) {
	s.t.Helper()
	switch {
	case leader.wasKilled():
		s.interrupted[leader.point.count] = true
		s.t.Logf("%s %d: the story went on", s.where, leader.point.count)
	case leader.hasEnded():
		s.t.Logf("%s %d is played again: %v", s.where, leader.point.count, leader.reason())
		s.missed = append(s.missed, leader.point.count)
	case !s.isWhole:
		s.t.Logf("the story has %d writes", leader.point.count-1)
		s.isWhole = true
	}
}

// next starts a manager that exits at a write of its own story: a missed one, or the next one while there are more.
func (s *stories) next() *manager {
	s.t.Helper()
	if s.rounds++; s.rounds > mostRounds {
		s.t.Fatalf("the story does not end within %d rounds; interrupted at %v, missed %v", mostRounds, s.interrupted, s.missed)
	}
	p := point{where: s.where, namespace: fmt.Sprint("story-", s.rounds)}
	switch {
	case len(s.missed) > 0:
		p.count, s.missed = s.missed[0], s.missed[1:]
	case !s.isWhole:
		s.count++
		p.count = s.count
	default:
		p.where = never
	}
	return s.ending(p)
}

// story is a Tag, its Deployment, and the pushes.
type story struct {
	*plane
	namespace string
	digests   []string // by generation
}

// play runs the story from the first import to the last generation, and waits after each step for its results.
func (p *plane) play(namespace string) {
	p.t.Helper()
	p.namespace(namespace)
	s := &story{plane: p, namespace: namespace}
	h := p.watchHistory(namespace)
	defer h.stop()
	s.create()
	s.push("stable")
	s.move(v1.AnnotationRequestedGeneration, "1")
	s.becomes("an upgrade", 1, 1, "User", "")
	s.move(v1.AnnotationRequestedGeneration, "0")
	s.becomes("a downgrade", 0, 1, "User", "")
	s.push("stable")
	s.move(v1.AnnotationRequestedCheck, "1")
	s.becomes("a push to a Tag that was rolled back", 0, 2, "Push", "1")
	s.move(v1.AnnotationRequestedGeneration, "2")
	s.becomes("an upgrade to what was imported beside it", 2, 2, "Push", "1")
	s.push("stable")
	s.move(v1.AnnotationRequestedCheck, "2")
	s.becomes("a push", 3, 3, "Push", "2")
	s.push("other")
	s.from("other")
	s.becomes("another source", 4, 4, "User", "2")
	s.move(v1.AnnotationRequestedCheck, "3")
	s.becomes("a check that finds nothing new", 4, 4, "User", "3")
	for _, problem := range h.followed() {
		p.t.Error(problem)
	}
	if got, want := h.rollouts(), 5; got != want {
		p.t.Errorf("%s: %d rollouts, want %d", namespace, got, want)
	}
}

// create creates the Tag, and the Deployment once it is imported.
func (s *story) create() {
	s.t.Helper()
	s.push("stable")
	s.try("create the Tag", func() error { return s.client.Create(s.t.Context(), newTag(s.namespace, "app", s.image("stable"))) })
	s.eventually("the first import", func(ctx context.Context) error { return s.is(ctx, 0, 0, "Import", "") })
	s.try("create the Deployment", func() error { return s.client.Create(s.t.Context(), newDeployment(s.namespace, "app", "app")) })
	s.becomes("a Deployment", 0, 0, "Import", "")
}

// push pushes the image of the next generation.
func (s *story) push(name string) {
	s.t.Helper()
	digest, err := cluster.PushImage(s.t.Context(), s.image(name), fmt.Sprint(s.namespace, len(s.digests)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.digests = append(s.digests, digest)
}

func (s *story) image(name string) string {
	return fmt.Sprintf("%s/%s/app:%s", s.address, s.namespace, name)
}

// move sends a request by annotation, as kubectl tag and pushes do.
func (s *story) move(key, value string) {
	s.t.Helper()
	text := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	if err := s.patch(newTag(s.namespace, "app", ""), text, client.FieldOwner("kubectl-tag")); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) from(name string) {
	s.t.Helper()
	text := fmt.Sprintf(`{"spec":{"from":%q}}`, s.image(name))
	if err := s.patch(newTag(s.namespace, "app", ""), text, client.FieldOwner("kubectl-edit")); err != nil {
		s.t.Fatal(err)
	}
}

// becomes waits until the Tag and the Deployment have completed the step.
func (s *story) becomes(step string, generation, newest int64, trigger v1.Trigger, handled string) {
	s.t.Helper()
	s.eventually(s.namespace+": "+step, func(ctx context.Context) error {
		if err := s.is(ctx, generation, newest, trigger, handled); err != nil {
			return err
		}
		var tag v1.Tag
		var deployment appsv1.Deployment
		for _, object := range []client.Object{&tag, &deployment} {
			if err := s.client.Get(ctx, s.key(), object); err != nil {
				return err
			}
		}
		return follows(&deployment, &tag)
	})
}

// is returns an error unless the Tag has the generation, and all up to the newest one, each with its digest.
func (s *story) is(ctx context.Context, generation, newest int64, trigger v1.Trigger, handled string) error {
	var tag v1.Tag
	if err := s.client.Get(ctx, s.key(), &tag); err != nil {
		return err
	}
	if err := settled(&tag); err != nil {
		return err
	}
	if *tag.Status.Generation != generation || tag.Newest().Generation != newest || tag.Newest().Trigger != trigger || tag.Status.LastHandledRequest != handled {
		return fmt.Errorf("it is at %d, the newest generation is %+v, handled is %q; want %d, %d by %s, and %q",
			*tag.Status.Generation, tag.Newest(), tag.Status.LastHandledRequest, generation, newest, trigger, handled)
	}
	for _, ref := range tag.Status.References {
		if digest, _ := digestOf(ref.ImageReference); digest != s.digests[ref.Generation] {
			return fmt.Errorf("generation %d is %s, want %s", ref.Generation, digest, s.digests[ref.Generation])
		}
	}
	if got := len(tag.Status.References); got != int(newest)+1 {
		return fmt.Errorf("%d generations, want %d", got, newest+1)
	}
	return nil
}

func (s *story) key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.namespace, Name: "app"}
}
