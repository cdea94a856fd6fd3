//go:build faults

package crash

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// TestStatusClearedWithoutALeader clears the status of a Tag that was rolled back, and whose registry has a newer build, after
// the leader is gone. Admission admits no bare name meanwhile. Then the status is restored, although the new leader has only
// watched until then.
func TestStatusClearedWithoutALeader(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	managers := p.newPair()
	p.namespace("emptied")
	s := &story{plane: p, namespace: "emptied"}
	s.create()
	s.push("stable")
	s.move(v1.AnnotationRequestedGeneration, "1")
	s.becomes("an upgrade", 1, 1, "User", "")
	s.move(v1.AnnotationRequestedGeneration, "0")
	s.becomes("a downgrade", 0, 1, "User", "")
	before := s.deployment("app")
	s.push("stable") // which no user requests

	managers = p.leads(managers.leader, managers.other)
	p.end(managers.leader)
	s.empty()
	s.nothingBareIsAdmitted(before)

	s.digests = s.digests[:2]
	s.becomes("what it was", 0, 1, "User", "")
	if after := s.deployment("app"); after.Generation != before.Generation {
		t.Errorf("the Deployment rolled: its generation is %d and was %d", after.Generation, before.Generation)
	}
	s.eventually("the Deployment made meanwhile to be pinned", func(context.Context) error {
		if got, want := imageOf(s.deployment("new")), imageOf(before); got != want {
			return fmt.Errorf("it is %s, want %s", got, want)
		}
		return nil
	})
}

// empty clears the status as kubectl patch --subresource=status does.
func (s *story) empty() {
	s.t.Helper()
	patch := client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/status"}]`))
	if err := s.client.Status().Patch(s.t.Context(), newTag(s.namespace, "app", ""), patch); err != nil {
		s.t.Fatal(err)
	}
}

// nothingBareIsAdmitted creates a Deployment that names the emptied Tag, and applies the manifest of a pinned one.
func (s *story) nothingBareIsAdmitted(pinned *appsv1.Deployment) {
	s.t.Helper()
	s.try("create a Deployment", func() error { return s.client.Create(s.t.Context(), newDeployment(s.namespace, "new", "app")) })
	if got, want := imageOf(s.deployment("new")), "not-imported.invalid/emptied/app"; got != want && !strings.Contains(got, "@") {
		s.t.Errorf("a Deployment that names the Tag is stored with the image %s, want %s", got, want)
	}
	text := `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"app"}]}}}}`
	s.try("apply the manifest again", func() error {
		return s.client.Patch(s.t.Context(), newDeployment(s.namespace, "app", ""), client.RawPatch(types.StrategicMergePatchType, []byte(text)))
	})
	if got, want := imageOf(s.deployment("app")), imageOf(pinned); got != want {
		s.t.Errorf("the manifest applied again made the image %s, want %s", got, want)
	}
}

func (s *story) deployment(name string) *appsv1.Deployment {
	s.t.Helper()
	var d appsv1.Deployment
	if err := s.client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, &d); err != nil {
		s.t.Fatal(err)
	}
	return &d
}

func imageOf(d *appsv1.Deployment) string { return d.Spec.Template.Spec.Containers[0].Image }
