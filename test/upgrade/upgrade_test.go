package upgrade

import (
	"context"
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
)

// former is the commit of an earlier version, whose installation and objects are in testdata.
const former = "testdata/474cb00"

// TestUpgradeAndDowngradeKeepObjects: no spec changes, no workload rolls out, and no generation is lost, with either
// definition. The Tag with the name large has a first generation that today's schema rejects.
func TestUpgradeAndDowngradeKeepObjects(t *testing.T) {
	w := newWorld(t)
	w.storeFormer()
	stored := w.stored()
	w.startCurrent()
	w.eventually("all Tags to be handled", func(ctx context.Context) error {
		return errors.Join(
			w.isAttemptedAgain(ctx, stored.tags["failing"]), w.isAttemptedAgain(ctx, stored.tags["large"]),
			w.isStalled(ctx, "largest", v1.ReasonUnknownGeneration),
		)
	})
	w.sameAs(stored)

	w.Must(w.Client.Patch(t.Context(), tag("app"), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"generation":2}}`))))
	w.eventually("the Deployment to follow its Tag", func(ctx context.Context) error {
		deployment := deployment("app")
		err := w.Client.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)
		if want := w.image(2); err == nil && deployment.Spec.Template.Spec.Containers[0].Image != want {
			err = fmt.Errorf("it has %s and not %s", deployment.Spec.Template.Spec.Containers[0].Image, want)
		}
		return err
	})
	moved := w.stored()
	delete(stored.tags, "app")
	delete(stored.deployments, "app")
	w.sameAs(stored)

	w.stopManager()
	w.Must(cluster.InstallFrom(t.Context(), w.Cluster, former, cluster.WebhookEndpoint{}))
	w.sameAs(moved)
	for name := range moved.tags {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"status":{"lastHandledRequest":"downgraded"}}`))
		if err := w.Client.Status().Patch(t.Context(), tag(name), patch); err != nil {
			t.Errorf("Tag %s: %v", name, err)
		}
	}
	w.sameAs(moved)
}

// TestTagsOfOldRulesCanBeEdited has a Tag from before the rule.
func TestTagsOfOldRulesCanBeEdited(t *testing.T) {
	w := newWorld(t)
	w.storeFormer()
	w.startCurrent()
	for _, patch := range []string{
		`{"metadata":{"labels":{"team":"a"}}}`,
		`{"metadata":{"finalizers":["example.com/kept"]}}`,
		`{"metadata":{"finalizers":[]}}`,
		`{"spec":{"interval":"1h"}}`,
	} {
		if err := w.Client.Patch(t.Context(), tag("large"), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Errorf("%s: %v", patch, err)
		}
	}
	higher := fmt.Appendf(nil, `{"spec":{"generation":%d}}`, v1.MaxFirstGeneration+1)
	if err := w.Client.Patch(t.Context(), tag("large"), client.RawPatch(types.MergePatchType, higher)); !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
		t.Errorf("another generation above the maximum: %v", err)
	}
	w.Must(w.Client.Patch(t.Context(), tag("large"), client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"from":%q,"generation":7}}`, w.registry+"/app"))))
	w.eventually("the Tag to be Ready", func(ctx context.Context) error {
		large := tag("large")
		err := w.Client.Get(ctx, client.ObjectKeyFromObject(large), large)
		if err == nil && !large.IsReady() {
			err = fmt.Errorf("%+v", large.Status.Conditions)
		}
		return err
	})
	w.Must(w.Client.Delete(t.Context(), tag("large")))
	w.stopManager()
}
