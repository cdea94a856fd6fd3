package kubectltag

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// fieldManager is the plugin's name in managedFields; for admission its requests always count.
const fieldManager = "kubectl-tag"

type verb struct {
	name, short, done string
	// target returns the generation to select.
	target func(*v1.Tag) (int64, error)
}

var verbs = []verb{
	{"upgrade", "Move a Tag to its next newer generation; at the newest one, import the image again", "upgraded", next},
	{"downgrade", "Move a Tag to the generation before the one in use", "downgraded", previous},
	{"import", "Import the image again, as a new generation, and move the Tag there", "moved", fresh},
}

// move requests the generation by annotation, so that the applier of the Tag's manifest stays the owner of spec.generation.
func move(ctx context.Context, api client.Client, name types.NamespacedName, target func(*v1.Tag) (int64, error)) (int64, error) {
	var generation int64
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var tag v1.Tag
		if err := api.Get(ctx, name, &tag); err != nil {
			return fmt.Errorf("namespace %q: %w", name.Namespace, err)
		}
		var err error
		if generation, err = target(&tag); err != nil {
			return err
		}
		wanted := tag.DeepCopy()
		if wanted.Annotations == nil {
			wanted.Annotations = map[string]string{}
		}
		wanted.Annotations[v1.AnnotationRequestedGeneration] = strconv.FormatInt(generation, 10)
		patch := client.MergeFromWithOptions(&tag, client.MergeFromWithOptimisticLock{})
		return api.Patch(ctx, wanted, patch, client.FieldOwner(fieldManager))
	})
	return generation, err
}

func next(tag *v1.Tag) (int64, error) {
	if err := settled(tag); err != nil {
		return 0, err
	}
	current, target := tag.WantedGeneration(), int64(math.MaxInt64)
	for _, ref := range tag.Status.References {
		if ref.Generation > current {
			target = min(target, ref.Generation)
		}
	}
	if target == math.MaxInt64 {
		return fresh(tag)
	}
	return target, nil
}

// previous returns the generation to go back to. While an import fails, that is the one in use.
func previous(tag *v1.Tag) (int64, error) {
	if tag.Newest() == nil {
		return 0, fmt.Errorf("Tag %q has no import yet", tag.Name)
	}
	current, target := tag.WantedGeneration(), int64(-1)
	if tag.Reference(current) == nil && tag.Current() != nil {
		return tag.Current().Generation, nil
	}
	for _, ref := range tag.Status.References {
		if ref.Generation < current {
			target = max(target, ref.Generation)
		}
	}
	if target < 0 {
		return 0, fmt.Errorf("Tag %q cannot be downgraded: generation %d is the oldest one that is kept", tag.Name, current)
	}
	return target, nil
}

func fresh(tag *v1.Tag) (int64, error) {
	if err := settled(tag); err != nil {
		return 0, err
	}
	return tag.Newest().Generation + 1, nil
}

// settled returns an error for a Tag whose import is pending.
func settled(tag *v1.Tag) error {
	wanted := tag.WantedGeneration()
	if tag.Reference(wanted) != nil {
		return nil
	}
	because := ""
	if attempt := tag.Status.LastImportAttempt; attempt != nil && !attempt.Succeed {
		because = ": " + attempt.Reason
	}
	return fmt.Errorf("the import of generation %d of Tag %q is pending%s", wanted, tag.Name, because)
}
