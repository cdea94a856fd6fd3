package backstop

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
)

// repairPromise is how long after its return the manager may take to repair a workload that was stored without it.
const repairPromise = 5 * time.Second

// TestRepairWithoutABackstop: the API server stores the name of a Tag while no manager responds, and soon after the manager's
// return the Tag's image. A Deployment makes a ReplicaSet for the name and one for the image, and no more.
func TestRepairWithoutABackstop(t *testing.T) {
	w := newWorld(t, "olm")
	image := w.imported("myapp")
	var stored []client.Object
	for kind := range kinds {
		if kind == "Job" { // its template does not change
			continue
		}
		object := workload(kind, strings.ToLower(kind), runs("myapp"), initialised("init", "myapp"))
		w.must(w.api.Create(t.Context(), object))
		stored = append(stored, object)
	}
	w.eventually("a ReplicaSet of the name", patience, func() error { return w.hasReplicaSets("deployment", 1, 1) })

	w.manager("--backstop=off")
	back := time.Now()
	w.eventually("the images", 3*repairPromise, func() error {
		for _, object := range stored {
			if err := w.get(object); err != nil {
				return err
			}
			for _, c := range parts(object).Containers() {
				if c.Image != image {
					return unless(false, "%s runs %s in %s, want %s", object.GetName(), c.Image, c.Name, image)
				}
			}
		}
		return nil
	})
	t.Logf("repaired %s after the manager was ready; promised: %s", time.Since(back).Round(time.Millisecond), repairPromise)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "deployment"}}
	w.eventually("the rollout", patience, func() error {
		if err := w.get(deployment); err != nil {
			return err
		}
		status := deployment.Status
		return unless(status.ObservedGeneration == deployment.Generation && status.UpdatedReplicas == 1 && status.Replicas == 1, "%+v", status)
	})
	w.must(w.hasReplicaSets("deployment", 1, 2))
	if _, requested := deployment.Annotations[v1.AnnotationRequested]; requested || deployment.Annotations[v1.AnnotationPinned] == "" {
		t.Errorf("the annotations are %v, want the record and no request", deployment.Annotations)
	}
}

// hasReplicaSets returns an error unless a Deployment has so many.
func (w *world) hasReplicaSets(app string, least, most int) error {
	var sets appsv1.ReplicaSetList
	if err := w.api.List(w.t.Context(), &sets, client.InNamespace(namespace), client.MatchingLabels{"app": app}); err != nil {
		return err
	}
	return unless(len(sets.Items) >= least && len(sets.Items) <= most, "%d ReplicaSets, want %d to %d", len(sets.Items), least, most)
}

func parts(object client.Object) pin.Workload {
	parts, _ := pin.Of(object)
	return parts
}
