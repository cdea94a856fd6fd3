package workload

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/images-io/tagger/controllers/internal/apiaccess"
	"github.com/images-io/tagger/internal/reference"
)

// stuckPodInterval is how often the pods of a StatefulSet are listed while its rollout waits for a pod. A kubelet takes a
// while to report that it cannot pull an image.
const stuckPodInterval = 15 * time.Second

// stuckReasons are the reasons for which a container waits that a repaired template cures and time does not.
var stuckReasons = map[string]bool{"ErrImagePull": true, "ImagePullBackOff": true, "InvalidImageName": true, "CrashLoopBackOff": true}

// deleteStuckPods deletes the pods that block the rollout of an ordered StatefulSet: Kubernetes does not replace a pod that
// never became Ready after its template was repaired (kubernetes#67250, DESIGN 4.11). It returns when to look again, 0 if a
// change of the StatefulSet is enough.
func (r *Reconciler) deleteStuckPods(ctx context.Context, object client.Object) (time.Duration, error) {
	cached, ok := object.(*appsv1.StatefulSet)
	if !ok || !awaitsPods(cached) {
		return 0, nil
	}
	set, err := r.liveStatefulSet(ctx, cached)
	if err != nil || set == nil || !replacesInOrder(set) {
		return 0, err
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return 0, fmt.Errorf("the selector of StatefulSet %s: %w", client.ObjectKeyFromObject(set), err)
	}
	newList := func() client.ObjectList { return &corev1.PodList{} }
	err = apiaccess.EachListed(ctx, r.Live, newList, func(pod runtime.Object) error {
		return r.deleteIfStuck(ctx, set, pod.(*corev1.Pod))
	}, client.InNamespace(set.Namespace), client.MatchingLabelsSelector{Selector: selector})
	if err != nil {
		return 0, fmt.Errorf("the pods of StatefulSet %s: %w", client.ObjectKeyFromObject(set), err)
	}
	return stuckPodInterval, nil
}

// awaitsPods reports whether a rollout is not over and some pod is not Ready.
func awaitsPods(set *appsv1.StatefulSet) bool {
	status := set.Status
	return status.UpdatedReplicas < status.Replicas && status.ReadyReplicas < status.Replicas
}

// progress returns the numbers of the status that change while a rollout goes on.
func progress(set *appsv1.StatefulSet) [4]int64 {
	status := set.Status
	return [4]int64{status.ObservedGeneration, int64(status.Replicas), int64(status.ReadyReplicas), int64(status.UpdatedReplicas)}
}

// liveStatefulSet reads the StatefulSet, or nil if it is another one by now.
func (r *Reconciler) liveStatefulSet(ctx context.Context, cached *appsv1.StatefulSet) (*appsv1.StatefulSet, error) {
	var list appsv1.StatefulSetList // the manager has the right to list, and needs no other
	if err := r.Live.List(ctx, &list, client.InNamespace(cached.Namespace), client.MatchingFields{metav1.ObjectNameField: cached.Name}); err != nil {
		return nil, fmt.Errorf("reading StatefulSet %s: %w", client.ObjectKeyFromObject(cached), err)
	}
	if len(list.Items) == 0 || list.Items[0].UID != cached.UID {
		return nil, nil
	}
	return &list.Items[0], nil
}

// replacesInOrder reports whether Kubernetes replaces the pods one by one, each after the one before is Ready, and has seen
// the present template.
func replacesInOrder(set *appsv1.StatefulSet) bool {
	ordered := set.Spec.PodManagementPolicy == "" || set.Spec.PodManagementPolicy == appsv1.OrderedReadyPodManagement
	return ordered && set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType &&
		set.Status.ObservedGeneration == set.Generation && awaitsPods(set)
}

// deleteIfStuck deletes a pod of an older revision that cannot start, if it still is as it was read.
func (r *Reconciler) deleteIfStuck(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	isOlder := pod.Labels[appsv1.StatefulSetRevisionLabel] != set.Status.UpdateRevision
	reason := stuckReason(pod)
	if !metav1.IsControlledBy(pod, set) || !isOlder || !pod.DeletionTimestamp.IsZero() || isPodReady(pod) || reason == "" || isBelowPartition(set, pod) {
		return nil
	}
	preconditions := client.Preconditions{UID: &pod.UID, ResourceVersion: &pod.ResourceVersion}
	err := r.Client.Delete(ctx, pod, preconditions)
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err): // it changed since it was listed, and is looked at again
		return nil
	case err != nil:
		return fmt.Errorf("deleting the stuck pod %s: %w", client.ObjectKeyFromObject(pod), err)
	}
	r.Events.Eventf(set, nil, corev1.EventTypeNormal, "StuckPodDeleted", "Delete",
		"pod %s of an older revision cannot start (%s), and Kubernetes does not replace it; Tagger deleted it, so that the rollout goes on", pod.Name, reason)
	return nil
}

// stuckReason returns why a pod cannot start, or nothing.
func stuckReason(pod *corev1.Pod) string {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if reference.IsPlaceholder(containers[i].Image) {
				return "its Tag had no import"
			}
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if waiting := statuses[i].State.Waiting; waiting != nil && stuckReasons[waiting.Reason] {
				return waiting.Reason
			}
		}
	}
	return ""
}

func isPodReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// isBelowPartition reports whether the StatefulSet would make the pod from the older revision again.
func isBelowPartition(set *appsv1.StatefulSet, pod *corev1.Pod) bool {
	update := set.Spec.UpdateStrategy.RollingUpdate
	if update == nil || update.Partition == nil || *update.Partition == 0 {
		return false
	}
	var index int32
	if _, err := fmt.Sscan(pod.Labels[appsv1.PodIndexLabel], &index); err != nil {
		return true // without the label (before Kubernetes 1.28) the pod stays
	}
	return index < *update.Partition
}

// podsChanged lets through what deleteStuckPods looks at.
var podsChanged = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	DeleteFunc: func(event.DeleteEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		old, isSet := e.ObjectOld.(*appsv1.StatefulSet)
		updated, ok := e.ObjectNew.(*appsv1.StatefulSet)
		return isSet && ok && awaitsPods(updated) && progress(old) != progress(updated)
	},
}
