package prune

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/apiaccess"
	"github.com/images-io/tagger/controllers/internal/imageuse"
	"github.com/images-io/tagger/internal/workloadkind"
)

const (
	// usageWait is how long a worker waits for the prune of another namespace, which may take minutes.
	usageWait = time.Second
	// maxUsedImages bounds the images of one Tag that a namespace may use for the Tag to be pruned.
	maxUsedImages = 4096
)

// ErrBusy is returned while another prune reads what a namespace uses.
var ErrBusy = errors.New("another prune reads what its namespace uses; try again")

// usedImages returns the images of the Tag's repository in a mirror that pods of its namespace run, or may be made with, and who
// uses each: workloads, and other Tags in their history. It reads in pages and keeps nothing else of the objects. One prune at a
// time does so; the error is ErrBusy meanwhile.
func (p *Pruner) usedImages(ctx context.Context, tag *v1.Tag) (map[string]string, error) {
	waiting, cancel := context.WithTimeout(ctx, usageWait)
	defer cancel()
	unlock, err := p.reads.TryLock(waiting, tag.Namespace)
	if unlock == nil && (err == nil || waiting.Err() != nil && ctx.Err() == nil) {
		return nil, ErrBusy
	}
	if unlock == nil {
		return nil, err
	}
	defer unlock()
	used := imageuse.Usage{Repository: tag.Namespace + "/" + tag.Name, By: map[string]string{}}
	kinds := []func() client.ObjectList{
		func() client.ObjectList { return &appsv1.ReplicaSetList{} },
		func() client.ObjectList { return &batchv1.JobList{} },
		func() client.ObjectList { return &v1.TagList{} },
	}
	for _, kind := range workloadkind.All {
		kinds = append(kinds, kind.NewList)
	}
	for _, newList := range kinds {
		if err := p.addUsage(ctx, tag, newList, &used); err != nil {
			return nil, fmt.Errorf("reading what namespace %s runs: %w", tag.Namespace, err)
		}
	}
	return used.By, nil
}

// addUsage adds the images of all objects of one kind.
func (p *Pruner) addUsage(ctx context.Context, tag *v1.Tag, newList func() client.ObjectList, used *imageuse.Usage) error {
	return apiaccess.EachListed(ctx, p.Live, newList, func(item runtime.Object) error {
		if other, isTag := item.(*v1.Tag); !isTag {
			used.MarkWorkload(item)
		} else if other.Name != tag.Name {
			used.MarkHistory(other)
		}
		if len(used.By) > maxUsedImages {
			return fmt.Errorf("it uses more than %d images of Tag %s, so none is removed from the internal registry; delete the workloads that name them", maxUsedImages, tag.Name)
		}
		return nil
	}, client.InNamespace(tag.Namespace))
}
