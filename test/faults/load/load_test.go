//go:build faults

package load

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// pullSecret returns a secret with as many entries as fit into so many KiB: 36,000 into the most that an API server stores.
func pullSecret(name string, kib int) *corev1.Secret {
	auth := base64.StdEncoding.EncodeToString([]byte("a:b"))
	var content strings.Builder
	content.WriteString(`{"auths":{`)
	for i := 0; content.Len() < kib<<10-64; i++ {
		if i > 0 {
			content.WriteByte(',')
		}
		fmt.Fprintf(&content, `"%d":{"auth":%q}`, i, auth)
	}
	content.WriteString("}}")
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: name}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(content.String())},
	}
}

// TestPullSecretsWithoutEnd has many and large ones, of which some are within the bounds of each.
func TestPullSecretsWithoutEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 30 {
		w.Create(pullSecret(fmt.Sprintf("a-%02d", i), 1008))
	}
	for i := range 5 {
		w.Create(pullSecret(fmt.Sprintf("b-%d", i), 555))
		w.Create(pullSecret(fmt.Sprintf("c-%d", i), 250))
	}
	tags := w.tags(60, false)
	neighbour := w.tag(other, "app", false)
	w.Create(neighbour)
	w.awaitReady(patience, neighbour)
	w.awaitReady(settled, tags...)
	w.await(patience, func(ctx context.Context) (bool, error) {
		var events eventsv1.EventList
		err := w.Client.List(ctx, &events, client.InNamespace(tenant))
		return slices.ContainsFunc(events.Items, func(event eventsv1.Event) bool {
			return event.Reason == "MalformedPullSecret" && strings.Contains(event.Note, "a-00")
		}), err
	})
	w.endure()
}

// job returns one of 1 MB: an API server decodes it to several times that.
func job(name string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: name},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "app", Image: "registry.test/app:1", Args: slices.Repeat([]string{"a"}, 250_000)}},
		}}},
	}
}

// TestTagsThatPruneBesideLargeJobs deletes all Tags at once, so that all read the usage of their namespace.
func TestTagsThatPruneBesideLargeJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tags := w.tags(40, true)
	w.awaitReady(settled, tags...)
	for i := range 40 {
		w.Create(job(fmt.Sprintf("job-%02d", i)))
	}
	w.Must(w.Client.DeleteAllOf(t.Context(), &v1.Tag{}, client.InNamespace(tenant)))
	neighbour := w.tag(other, "app", false)
	w.Create(neighbour)
	w.awaitReady(patience, neighbour)
	w.awaitGone(settled, tags...)
	w.endure()
}
