package tag

import (
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/generation"
	"github.com/images-io/tagger/internal/jobs"
)

// hold makes the Tag's request wait.
func (r *Reconciler) hold(tag *v1.Tag, wait time.Duration) {
	r.State.Hold(client.ObjectKeyFromObject(tag), generation.RequestKey(tag), r.holdFrom(wait))
}

// holdForJob makes the Tag's request wait while a job is in progress.
func (r *Reconciler) holdForJob(tag *v1.Tag, job jobs.Kind, wait time.Duration) {
	r.State.HoldForJob(client.ObjectKeyFromObject(tag), generation.RequestKey(tag), r.holdFrom(wait), job)
}

func (r *Reconciler) holdFrom(wait time.Duration) generation.Hold {
	now := r.Clock.Now()
	return generation.Hold{Since: now, Until: now.Add(wait)}
}
