package upgrade

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

// namespace is the namespace of the stored objects.
const namespace = "shop"

// storeFormer pushes the images, and stores the objects of the former version, under its definition.
func (w *world) storeFormer() {
	w.T.Helper()
	ctx := w.T.Context()
	replaced := []string{"REGISTRY", w.registry, "MIRROR", w.mirror}
	for i := range 3 {
		digest, err := cluster.PushImage(ctx, w.registry+"/app:latest", fmt.Sprint(i))
		w.Must(err)
		w.digests = append(w.digests, digest)
		replaced = append(replaced, fmt.Sprint("DIGEST", i), digest)
	}
	_, err := cluster.PushImage(ctx, w.mirror+"/shop/cached:0", "2")
	w.Must(err)
	w.Must(cluster.InstallFrom(ctx, w.Cluster, former, cluster.WebhookEndpoint{}))
	w.Must(w.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	text, err := os.ReadFile(filepath.Join(former, "stored.yaml"))
	w.Must(err)
	for document := range bytes.SplitSeq([]byte(strings.NewReplacer(replaced...).Replace(string(text))), []byte("\n---\n")) {
		var object unstructured.Unstructured
		w.Must(yaml.Unmarshal(document, &object.Object))
		status, hasStatus := object.Object["status"]
		w.Must(w.Client.Create(ctx, &object))
		if hasStatus {
			object.Object["status"] = status
			w.Must(w.Client.Status().Update(ctx, &object))
		}
	}
}

// image is the i-th image at its source.
func (w *world) image(i int) string { return w.registry + "/app@" + w.digests[i] }

func tag(name string) *v1.Tag {
	return &v1.Tag{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func deployment(name string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// objects are all Tags and Deployments, by name.
type objects struct {
	tags        map[string]v1.Tag
	deployments map[string]appsv1.Deployment
}

func (w *world) stored() objects {
	w.T.Helper()
	found := objects{tags: map[string]v1.Tag{}, deployments: map[string]appsv1.Deployment{}}
	var tags v1.TagList
	w.Must(w.Client.List(w.T.Context(), &tags))
	for _, tag := range tags.Items {
		found.tags[tag.Name] = tag
	}
	var deployments appsv1.DeploymentList
	w.Must(w.Client.List(w.T.Context(), &deployments))
	for _, deployment := range deployments.Items {
		found.deployments[deployment.Name] = deployment
	}
	return found
}

// history returns the generations of a Tag's status.
func history(tag v1.Tag) v1.TagStatus {
	return v1.TagStatus{
		Generation: tag.Status.Generation, Digest: tag.Status.Digest, References: tag.Status.References, Mirrored: tag.Status.Mirrored,
	}
}

// sameAs compares the stored objects: specs, histories, and the records of workloads.
func (w *world) sameAs(want objects) {
	w.T.Helper()
	got := w.stored()
	for name, old := range want.tags {
		tag := got.tags[name]
		if tag.UID != old.UID || tag.Generation != old.Generation || !equality.Semantic.DeepEqual(tag.Spec, old.Spec) ||
			!equality.Semantic.DeepEqual(tag.Annotations, old.Annotations) || !equality.Semantic.DeepEqual(tag.Finalizers, old.Finalizers) {
			w.T.Errorf("Tag %s is %+v, was %+v", name, tag, old)
		}
		if got, want := history(tag), history(old); !equality.Semantic.DeepEqual(got, want) {
			w.T.Errorf("Tag %s has the history %+v, had %+v", name, got, want)
		}
	}
	for name, old := range want.deployments {
		deployment := got.deployments[name]
		if deployment.Generation != old.Generation || !equality.Semantic.DeepEqual(deployment.Annotations, old.Annotations) {
			w.T.Errorf("Deployment %s is %+v, was %+v", name, deployment, old)
		}
	}
}

// isAttemptedAgain returns an error while Tagger has not tried an import since.
func (w *world) isAttemptedAgain(ctx context.Context, old v1.Tag) error {
	tag := tag(old.Name)
	if err := w.Client.Get(ctx, client.ObjectKeyFromObject(tag), tag); err != nil {
		return err
	}
	if when := tag.Status.LastImportAttempt.When; !when.After(old.Status.LastImportAttempt.When.Time) {
		return fmt.Errorf("the last attempt of Tag %s was at %s", tag.Name, when.Format(time.RFC3339))
	}
	return nil
}

// isStalled returns an error while the status of a Tag does not require an edit.
func (w *world) isStalled(ctx context.Context, name string, reason v1.Reason) error {
	tag := tag(name)
	if err := w.Client.Get(ctx, client.ObjectKeyFromObject(tag), tag); err != nil {
		return err
	}
	condition := meta.FindStatusCondition(tag.Status.Conditions, v1.ConditionStalled)
	if condition == nil || condition.Status != metav1.ConditionTrue || condition.Reason != string(reason) {
		return fmt.Errorf("the conditions of Tag %s are %+v", name, tag.Status.Conditions)
	}
	return nil
}
