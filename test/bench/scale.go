package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/bench/measure"
)

// tagsPerNamespace is many for one namespace.
const tagsPerNamespace = 500

var (
	// fewTags and manyTags are how many are created at once.
	fewTags, manyTags = measure.FullOrShort(1000, 10), measure.FullOrShort(10000, 20)
	// idle is how long nothing changes.
	idle = measure.FullOrShort(30*time.Second, time.Second)
	// movedDeployments is how many Deployments follow the Tag that is moved.
	movedDeployments = measure.FullOrShort(1000, 10)
)

// scale measures many concurrent Tags, their cost while nothing changes, and a Tag with many workloads. It runs no
// kube-controller-manager and no nodes: rollouts are not Tagger's work.
func scale(ctx context.Context, rows *measure.Report) (err error) {
	s, err := startStand(ctx)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context, *measure.Report) error{s.thousand, s.tenThousand, s.idle, s.move} {
		if err := step(ctx, rows); err != nil {
			return err
		}
	}
	return nil
}

func (s *stand) thousand(ctx context.Context, rows *measure.Report) error {
	took, shares, err := s.importAll(ctx, "few", fewTags)
	rows.Duration("1,000 Tags created at once, until all are Ready", took, 15*time.Second)
	rows.Note("  of that, processor time", shares)
	return err
}

func (s *stand) tenThousand(ctx context.Context, rows *measure.Report) error {
	took, shares, err := s.importAll(ctx, "many", manyTags)
	rows.Duration("10,000 Tags created at once, until all are Ready", took, 150*time.Second)
	rows.Note("  of that, processor time", shares)
	return err
}

// memory is read after some scrapes, which make a metric of every Tag.
func (s *stand) memory(rows *measure.Report) {
	now, peak, err := measure.Memory(s.manager.PID)
	if err != nil {
		rows.Note("resident memory of the manager", "not to be had here: "+err.Error())
		return
	}
	const most = 150 << 20
	rows.Size("resident memory of the manager with 11,000 Tags", now, most)
	rows.Size("  the most that it ever was", peak, most)
}

// importAll creates Tags, each of a repository of its own, and returns the time until all are Ready.
func (s *stand) importAll(ctx context.Context, prefix string, n int) (took time.Duration, shares string, err error) {
	for i := range (n + tagsPerNamespace - 1) / tagsPerNamespace {
		if err := s.namespace(ctx, fmt.Sprintf("%s-%d", prefix, i)); err != nil {
			return 0, "", err
		}
	}
	if err := s.settled(ctx); err != nil {
		return 0, "", err
	}
	isReady := func(object client.Object) bool {
		tag, ok := object.(*v1.Tag)
		return ok && tag.Labels["set"] == prefix && tag.IsReady()
	}
	ready, err := s.counts(ctx, "Ready Tags", &v1.Tag{}, isReady)
	if err != nil {
		return 0, "", err
	}
	start, before := time.Now(), s.cpuOf()
	created := make(chan error, 1)
	go func() {
		created <- parallel(ctx, n, func(ctx context.Context, i int) error {
			tag := s.tag(fmt.Sprintf("%s-%d", prefix, i/tagsPerNamespace), fmt.Sprintf("app-%d", i))
			tag.Labels = map[string]string{"set": prefix}
			return s.api.Create(ctx, tag)
		})
		measure.Progress("created %d Tags within %s", n, time.Since(start).Round(time.Second/10))
	}()
	err = ready.until(ctx, n)
	return time.Since(start), s.shares(before), errors.Join(err, <-created)
}

func (s *stand) idle(ctx context.Context, rows *measure.Report) error {
	if err := s.settled(ctx); err != nil {
		return err
	}
	before, err := s.writes(ctx)
	if err != nil {
		return err
	}
	measure.Progress("nothing changes for %s", idle)
	used := cpu(s.manager.PID)
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := s.writes(ctx)
	rows.Count(fmt.Sprintf("writes to the API server while nothing changes, in %s", idle), after-before, 0)
	rows.Note("processor time of the manager meanwhile", fmt.Sprintf("%.1f %% of a core", 100*(cpu(s.manager.PID)-used).Seconds()/idle.Seconds()))
	s.memory(rows)
	return err
}

// move changes the generation of one Tag with 1,000 Deployments.
func (s *stand) move(ctx context.Context, rows *measure.Report) error {
	const namespace = "moved"
	if err := s.namespace(ctx, namespace); err != nil {
		return err
	}
	tag := s.tag(namespace, "hot")
	if err := s.importOne(ctx, tag); err != nil {
		return err
	}
	old := tag.Status.References[0].ImageReference
	err := parallel(ctx, movedDeployments, func(ctx context.Context, i int) error {
		return s.api.Create(ctx, deployment(namespace, fmt.Sprintf("app-%d", i), tag.Name))
	})
	if err != nil {
		return err
	}
	if err := s.settled(ctx); err != nil {
		return err
	}
	hasMoved := func(object client.Object) bool {
		d, ok := object.(*appsv1.Deployment)
		return ok && d.Spec.Template.Spec.Containers[0].Image != old && d.Annotations[v1.AnnotationPinned] != ""
	}
	moved, err := s.counts(ctx, "moved Deployments", &appsv1.Deployment{}, hasMoved)
	if err != nil {
		return err
	}
	s.registry.push()
	start, before := time.Now(), s.cpuOf()
	upgraded := tag.DeepCopy()
	*upgraded.Spec.Generation++
	if err := s.api.Patch(ctx, upgraded, client.MergeFrom(tag)); err != nil {
		return err
	}
	if err := moved.until(ctx, movedDeployments); err != nil {
		return err
	}
	rows.Duration("a Tag moves that 1,000 Deployments follow, until all are patched", time.Since(start), 20*time.Second)
	rows.Note("  of that, processor time", s.shares(before))
	return nil
}

// importOne creates a Tag and returns when it is Ready, with the stored version.
func (s *stand) importOne(ctx context.Context, tag *v1.Tag) error {
	isReady := func(object client.Object) bool {
		found, ok := object.(*v1.Tag)
		return ok && found.IsReady() && client.ObjectKeyFromObject(found) == client.ObjectKeyFromObject(tag)
	}
	ready, err := s.counts(ctx, "the Tag", &v1.Tag{}, isReady)
	if err != nil {
		return err
	}
	if err := s.api.Create(ctx, tag.DeepCopy()); err != nil {
		return err
	}
	if err := ready.until(ctx, 1); err != nil {
		return err
	}
	return s.api.Get(ctx, client.ObjectKeyFromObject(tag), tag)
}

// deployment returns a typical Deployment with a container that names a Tag.
func deployment(namespace, name, image string) *appsv1.Deployment {
	labels := map[string]string{"app.kubernetes.io/name": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels, Annotations: map[string]string{v1.AnnotationEnabled: "true"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
			},
		},
	}
}
