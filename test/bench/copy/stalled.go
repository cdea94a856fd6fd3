package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/bench/measure"
)

const (
	// crowded is the number of concurrent Tags, and hosts the number of their registries.
	crowded, hosts = 20, 4
	// crowdDelay is the delay of every request.
	crowdDelay = 20 * time.Millisecond
	// longestWait is far above every target: a miss is measured, too.
	longestWait = 2 * time.Minute
)

// stalled measures cached Tags end to end, and how much longer they take while one of the registries sends no more bytes.
func stalled(ctx context.Context, rows *measure.Report) (err error) {
	s, err := openRelayedSite(ctx, crowdDelay)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	c, err := newCrowd(ctx, s)
	if err != nil {
		return err
	}
	manager, err := startManager(ctx, s)
	defer func() { err = errors.Join(err, manager.stop()) }()
	if err != nil {
		return err
	}
	c.api = manager.api
	times := map[bool][]time.Duration{}
	for round := range rounds {
		for _, isStalled := range []bool{false, true} {
			took, err := c.run(ctx, fmt.Sprintf("crowd-%d-%t", round, isStalled), isStalled)
			if err != nil {
				return err
			}
			times[isStalled] = append(times[isStalled], median(took))
		}
	}
	without, with := median(times[false]), median(times[true])
	rows.Note("20 cached Tags of 4 registries at once, until Ready: median of those of 3", measure.Readable(without))
	rows.Note("  while the fourth is stalled", measure.Readable(with))
	rows.Count("  of the time without that", with.Seconds()/without.Seconds(), 1.25)
	return nil
}

// crowd are cached Tags, each of an image of its own.
type crowd struct {
	api     client.Client
	sources []*relay
	digests []string
}

// newCrowd gives the source one name for each registry, and its images.
func newCrowd(ctx context.Context, s *site) (*crowd, error) {
	c := &crowd{}
	for range hosts {
		c.sources = append(c.sources, s.source.addRelay(crowdDelay))
	}
	for i := range uint64(crowded) {
		image := small
		image.seeds = []uint64{100*i + 1, 100*i + 2, 100*i + 3, 100*i + 4}
		digest, err := s.publish(ctx, image)
		if err != nil {
			return nil, err
		}
		c.digests = append(c.digests, digest)
	}
	return c, s.configure()
}

// run creates all Tags at once and returns the times of those of the other registries. Then it deletes them.
func (c *crowd) run(ctx context.Context, namespace string, isStalled bool) ([]time.Duration, error) {
	c.sources[0].stalled.Store(isStalled)
	defer c.sources[0].stalled.Store(false)
	if err := c.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return nil, err
	}
	start := time.Now()
	group, creating := errgroup.WithContext(ctx)
	for i := range crowded {
		group.Go(func() error { return c.api.Create(creating, c.tag(namespace, i)) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	took, err := c.untilReady(ctx, namespace, start)
	return took, errors.Join(err, c.clear(ctx, namespace))
}

// tag returns one of the Tags of one of the registries.
func (c *crowd) tag(namespace string, i int) *v1.Tag {
	host := i % hosts
	return &v1.Tag{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("tag-%d", i), Labels: map[string]string{"host": fmt.Sprint(host)}},
		Spec:       v1.TagSpec{Cache: true, From: c.sources[host].address() + "/" + upstream + "@" + c.digests[i]},
	}
}

// untilReady returns the time of each Tag that is not of the first registry.
func (c *crowd) untilReady(ctx context.Context, namespace string, start time.Time) (took []time.Duration, err error) {
	ready := map[string]bool{}
	err = c.poll(ctx, namespace, func(tags []v1.Tag) bool {
		for _, tag := range tags {
			if tag.Labels["host"] != "0" && tag.IsReady() && !ready[tag.Name] {
				ready[tag.Name] = true
				took = append(took, time.Since(start))
			}
		}
		return len(took) == crowded-crowded/hosts
	})
	return took, err
}

// clear deletes all Tags, and so cancels their copies.
func (c *crowd) clear(ctx context.Context, namespace string) error {
	if err := c.api.DeleteAllOf(ctx, &v1.Tag{}, client.InNamespace(namespace)); err != nil {
		return err
	}
	return c.poll(ctx, namespace, func(tags []v1.Tag) bool { return len(tags) == 0 })
}

// poll reads the Tags of a namespace until they are as expected.
func (c *crowd) poll(ctx context.Context, namespace string, isSo func(tags []v1.Tag) bool) error {
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, longestWait, true, func(ctx context.Context) (bool, error) {
		var tags v1.TagList
		err := c.api.List(ctx, &tags, client.InNamespace(namespace))
		return err == nil && isSo(tags.Items), err
	})
	if err != nil {
		return fmt.Errorf("waiting for the Tags of %s: %w", namespace, err)
	}
	return nil
}
