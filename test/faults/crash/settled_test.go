//go:build faults

package crash

import (
	"context"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// settles waits until every request is fulfilled, and then checks the history. It returns the managers that run by then.
func (m *mover) settles(h *history, managers pair) pair {
	m.t.Helper()
	m.eventually("all Tags and Deployments to be what was asked for", func(ctx context.Context) error {
		managers = m.restarted(managers)
		return errors.Join(m.tagsSettled(ctx), m.deploymentsSettled(ctx))
	})
	for _, problem := range h.followed() {
		m.t.Error(problem)
	}
	m.t.Logf("%d rollouts in %d changes", h.rollouts(), h.events)
	return managers
}

// tagsSettled returns an error while a Tag does not fulfil its requests.
func (m *mover) tagsSettled(ctx context.Context) error {
	tags, err := m.list(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for _, moved := range m.tags {
		tag, found := tags[moved.name]
		if !found {
			return fmt.Errorf("there is no Tag %s", moved.name)
		}
		if err := settled(tag); err != nil {
			problems = append(problems, fmt.Errorf("Tag %s %w", tag.Name, err))
		} else if err := m.isAsked(moved, tag); err != nil {
			problems = append(problems, fmt.Errorf("Tag %s: %w", tag.Name, err))
		}
	}
	return errors.Join(problems...)
}

func (m *mover) list(ctx context.Context) (map[string]*v1.Tag, error) {
	var list v1.TagList
	if err := m.client.List(ctx, &list, client.InNamespace(m.namespace)); err != nil {
		return nil, err
	}
	tags := map[string]*v1.Tag{}
	for i := range list.Items {
		tags[list.Items[i].Name] = &list.Items[i]
	}
	return tags, nil
}

// settled returns an error while a Tag has pending work.
func settled(tag *v1.Tag) error {
	_, isRequested := tag.Annotations[v1.AnnotationRequestedGeneration]
	current := tag.Current()
	switch {
	case isRequested:
		return errors.New("has a request that is not carried out")
	case current == nil || current.Generation != tag.WantedGeneration():
		return fmt.Errorf("wants generation %d and uses %v", tag.WantedGeneration(), current)
	case !tag.IsReady() || tag.Status.ObservedGeneration != tag.Generation:
		return fmt.Errorf("is not Ready: %+v", tag.Status.Conditions)
	case tag.Annotations[v1.AnnotationRequestedCheck] != tag.Status.LastHandledRequest:
		return fmt.Errorf("has handled %q and not %q", tag.Status.LastHandledRequest, tag.Annotations[v1.AnnotationRequestedCheck])
	default:
		return nil
	}
}

// deploymentsSettled returns an error while a Deployment does not have its Tag's image.
func (m *mover) deploymentsSettled(ctx context.Context) error {
	tags, err := m.list(ctx)
	if err != nil {
		return err
	}
	var deployments appsv1.DeploymentList
	if err := m.client.List(ctx, &deployments, client.InNamespace(m.namespace)); err != nil {
		return err
	}
	if len(deployments.Items) != len(m.tags) {
		return fmt.Errorf("there are %d Deployments", len(deployments.Items))
	}
	var problems []error
	for i := range deployments.Items {
		if err := follows(&deployments.Items[i], tags[deployments.Items[i].Name]); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// follows returns an error while a Deployment does not have the Tag's image.
func follows(d *appsv1.Deployment, tag *v1.Tag) error {
	image := d.Spec.Template.Spec.Containers[0].Image
	if _, isRequested := d.Annotations[v1.AnnotationRequested]; isRequested {
		return fmt.Errorf("Deployment %s has a request that is not carried out", d.Name)
	}
	if current := tag.Current(); current == nil || image != current.ImageReference {
		return fmt.Errorf("Deployment %s is %s, and its Tag %+v", d.Name, image, current)
	}
	if !strings.Contains(d.Annotations[v1.AnnotationPinned], image) {
		return fmt.Errorf("Deployment %s is %s, and its record says %s", d.Name, image, d.Annotations[v1.AnnotationPinned])
	}
	return nil
}

func digestOf(image string) (string, bool) {
	_, digest, found := strings.Cut(image, "@")
	return digest, found
}

func newTag(namespace, name, from string) *v1.Tag {
	return &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1.TagSpec{From: from}}
}

// newDeployment returns a Deployment that opts in, and names the Tag.
func newDeployment(namespace, name, tag string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{v1.AnnotationEnabled: "true"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: tag}}},
			},
		},
	}
}
