package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/bench/measure"
)

const (
	// pushNamespace has the Tags of the benchmark.
	pushNamespace = "pushes-0"
	// pushRate is the number of notifications a second.
	pushRate = 500
)

var (
	// pushedTags are the Tags that notifications name.
	pushedTags = measure.FullOrShort(100, 4)
	// pushFor is how long notifications arrive.
	pushFor = measure.FullOrShort(10*time.Second, time.Second)
	// attackFor is how long an attack takes.
	attackFor = measure.FullOrShort(30*time.Second, 2*time.Second)
)

// pushes measures push notifications: many, their way to the workloads, and an attack.
func pushes(ctx context.Context, rows *measure.Report) (err error) {
	s, err := startStand(ctx)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return err
	}
	tokens, err := s.cluster.PushTokens(ctx)
	if err != nil {
		return err
	}
	p := &pusher{stand: s, url: s.manager.PushURL + "/generic/" + tokens["generic"], client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: pushRate}}}
	if _, _, err := s.importAll(ctx, "pushes", pushedTags); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *measure.Report) error{p.storm, p.rollout, p.attack} {
		if err := step(ctx, rows); err != nil {
			return err
		}
	}
	return nil
}

// pusher sends notifications.
type pusher struct {
	*stand
	url    string
	client *http.Client
}

// notify sends a notification about a Tag's image and returns how long the response took.
func (p *pusher) notify(ctx context.Context, tag int) (time.Duration, error) {
	body := fmt.Sprintf(`{"image":"%s/%s/app-%d:latest"}`, p.registry.address(), pushNamespace, tag)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	start := time.Now()
	response, err := p.client.Do(request)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		return 0, fmt.Errorf("a notification gets %s", response.Status)
	}
	return time.Since(start), nil
}

// storm sends notifications about new images of all Tags at a constant rate.
func (p *pusher) storm(ctx context.Context, rows *measure.Report) error {
	if err := p.settled(ctx); err != nil {
		return err
	}
	before, _, err := measure.Memory(p.manager.PID)
	if err != nil {
		return err
	}
	written, stop, err := p.requestsWritten(ctx)
	if err != nil {
		return err
	}
	hasNewest := func(object client.Object) bool {
		tag, ok := object.(*v1.Tag)
		return ok && tag.Newest() != nil && tag.Newest().Generation == 1
	}
	bumped, err := p.counts(ctx, "Tags with a new generation", &v1.Tag{}, hasNewest)
	if err != nil {
		return err
	}
	p.registry.push()
	times, refused := p.send(ctx)
	_, peak, err := measure.Memory(p.manager.PID)
	if err := errors.Join(err, bumped.until(ctx, pushedTags), p.settled(ctx), stop()); err != nil {
		return err
	}
	rows.Duration(fmt.Sprintf("%d notifications a second for %s, %d Tags: p99 of the response", pushRate, pushFor, pushedTags), percentile(times, 99), 50*time.Millisecond)
	rows.Count("  refused", float64(refused), 0)
	rows.Count("  most patches of one Tag", float64(written()), 12)
	rows.Size("  more memory of the manager", peak-min(before, peak), 32<<20)
	return p.oneGeneration(ctx, rows)
}

// send sends notifications at the rate and returns the times of the responses, sorted, and how many were refused.
func (p *pusher) send(ctx context.Context) (times []time.Duration, refused int) {
	var mu sync.Mutex
	var sending sync.WaitGroup
	ticker := time.NewTicker(time.Second / pushRate)
	defer ticker.Stop()
	for i := range int(pushFor.Seconds() * pushRate) {
		<-ticker.C
		sending.Go(func() {
			took, err := p.notify(ctx, i%pushedTags)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				refused++
				return
			}
			times = append(times, took)
		})
	}
	sending.Wait()
	slices.Sort(times)
	return times, refused
}

// requestsWritten counts the checks that are requested of each Tag. It returns a function for the highest count.
func (p *pusher) requestsWritten(ctx context.Context) (most func() int, stop func() error, err error) {
	informer, err := p.cache.GetInformer(ctx, &v1.Tag{})
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	values := map[types.NamespacedName]map[string]bool{}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(_, object any) {
		tag, ok := object.(*v1.Tag)
		if !ok {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		name := client.ObjectKeyFromObject(tag)
		if values[name] == nil {
			values[name] = map[string]bool{}
		}
		values[name][tag.Annotations[v1.AnnotationRequestedCheck]] = true
	}})
	most = func() (highest int) {
		mu.Lock()
		defer mu.Unlock()
		for _, seen := range values {
			highest = max(highest, len(seen))
		}
		return highest
	}
	return most, func() error { return informer.RemoveEventHandler(registration) }, err
}

// oneGeneration verifies that each Tag has one generation for its new digest.
func (p *pusher) oneGeneration(ctx context.Context, rows *measure.Report) error {
	var tags v1.TagList
	if err := p.api.List(ctx, &tags, client.InNamespace(pushNamespace)); err != nil {
		return err
	}
	highest := 0
	for _, tag := range tags.Items {
		highest = max(highest, len(tag.Status.References))
	}
	rows.Count("  generations of a Tag, the first import included", float64(highest), 2)
	return nil
}

// rollout measures a notification about an image that many Deployments use, and notifications about as many images at once, of
// one namespace.
func (p *pusher) rollout(ctx context.Context, rows *measure.Report) error {
	one, err := p.rolled(ctx, "one", 1)
	if err != nil {
		return err
	}
	many, err := p.rolled(ctx, "many", pushedTags)
	rows.Duration(fmt.Sprintf("from a notification to %d rolled Deployment templates: p99", pushedTags), percentile(one, 99), 3*time.Second)
	rows.Note(fmt.Sprintf("  the same for %d Tags of one namespace, with a Deployment each", pushedTags), measure.Readable(percentile(many, 99)))
	return err
}

// rolled creates Deployments that follow some Tags, notifies, and returns the times from there until the templates have the new
// images, sorted.
func (p *pusher) rolled(ctx context.Context, prefix string, tags int) ([]time.Duration, error) {
	err := parallel(ctx, pushedTags, func(ctx context.Context, i int) error {
		return p.api.Create(ctx, deployment(pushNamespace, fmt.Sprintf("%s-%d", prefix, i), fmt.Sprintf("app-%d", i%tags)))
	})
	if err := errors.Join(err, p.settled(ctx)); err != nil {
		return nil, err
	}
	p.registry.push()
	var mu sync.Mutex
	var times []time.Duration
	var start time.Time
	seen := map[string]bool{}
	isRolled := func(object client.Object) bool {
		d, ok := object.(*appsv1.Deployment)
		if !ok || !strings.HasPrefix(d.Name, prefix) || !p.isNewest(d) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		if !seen[d.Name] {
			seen[d.Name], times = true, append(times, time.Since(start))
		}
		return true
	}
	moved, err := p.counts(ctx, "rolled Deployments", &appsv1.Deployment{}, isRolled)
	if err != nil {
		return nil, err
	}
	mu.Lock()
	start = time.Now()
	mu.Unlock()
	err = parallel(ctx, tags, func(ctx context.Context, i int) error {
		_, err := p.notify(ctx, i)
		return err
	})
	err = errors.Join(err, moved.until(ctx, pushedTags))
	slices.Sort(times)
	return times, err
}

// isNewest reports whether a Deployment has the image that the registry has now.
func (p *pusher) isNewest(d *appsv1.Deployment) bool {
	repository, digest, _ := strings.Cut(d.Spec.Template.Spec.Containers[0].Image, "@")
	path := strings.TrimPrefix(repository, p.registry.address())
	return digest == p.registry.digest("/v2"+path+"/manifests/latest")
}
