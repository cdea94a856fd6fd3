package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestOrderedStatefulSetRollsBack: Kubernetes alone keeps the stuck pod (kubernetes#67250).
func TestOrderedStatefulSetRollsBack(t *testing.T) {
	u := newUser(t)
	good := u.imported("myapp")
	u.with(strings.Replace(statefulSetYAML("app", "myapp"), "replicas: 1", "replicas: 3", 1), "apply -f -")
	u.kubectl("rollout status statefulset/app --timeout=90s")
	kept := u.get("pod/app-0", ".metadata.uid")

	broken := world.registry.Address + "/" + u.namespace + "/unstartable:latest"
	image := u.pushTo(broken, "broken")
	u.kubectl(`patch tag/myapp --type=merge -p {"spec":{"from":"` + broken + `"}}`)
	u.becomes("statefulset/app", containerImage, image)
	u.becomes("pod/app-2", ".status.containerStatuses[0].state.waiting.reason", "ErrImagePull")

	u.request("myapp", 0)
	u.becomes("statefulset/app", containerImage, good)
	u.kubectl("rollout status statefulset/app --timeout=90s")
	u.becomes("pod/app-2", ".spec.containers[0].image", good)
	if got := u.get("pod/app-0", ".metadata.uid"); got != kept {
		t.Error("a pod that was Ready was replaced")
	}
	u.eventually("the event that says so", func() error {
		if events := u.kubectl("get events -o jsonpath={.items[*].message}"); !strings.Contains(events, "pod app-2 of an older revision cannot start (ErrImagePull)") {
			return fmt.Errorf("only %s", events)
		}
		return nil
	})
}

// TestOrderedStatefulSetBeforeItsTag: Helm creates the Tag last.
func TestOrderedStatefulSetBeforeItsTag(t *testing.T) {
	u := newUser(t)
	u.with(statefulSetYAML("app", "myapp"), "apply -f -")
	u.becomes("pod/app-0", ".spec.containers[0].image", "not-imported.invalid/"+u.namespace+"/myapp")
	image := u.imported("myapp")
	u.becomes("statefulset/app", containerImage, image)
	u.kubectl("rollout status statefulset/app --timeout=90s")
	u.becomes("pod/app-0", ".spec.containers[0].image", image)
}

// TestOtherPodsThatDoNotStartStay: of the newest revision, of a StatefulSet that did not opt in, and of one that replaces its
// pods in parallel or on deletion.
func TestOtherPodsThatDoNotStartStay(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	broken := world.registry.Address + "/" + u.namespace + "/unstartable:latest"
	image := u.pushTo(broken, "broken")
	u.with(tagYAML("broken", broken, "generation: 0"), "apply -f -")
	u.becomes("tag/broken", ".status.generation", "0")
	onDelete := strings.Replace(statefulSetYAML("ondelete", "broken"), "spec:\n  replicas", "spec:\n  updateStrategy:\n    type: OnDelete\n  replicas", 1)
	other := strings.Replace(statefulSetYAML("other", image), `image-tag: "true"`, `image-tag: "false"`, 1)
	u.with(statefulSetYAML("newest", "broken")+"---\n"+onDelete+"---\n"+other, "apply -f -")
	uids := map[string]string{}
	for _, name := range []string{"newest", "ondelete", "other"} {
		u.becomes("pod/"+name+"-0", ".status.containerStatuses[0].state.waiting.reason", "ErrImagePull")
		uids[name] = u.get("pod/"+name+"-0", ".metadata.uid")
	}
	u.kubectl("set image statefulset/other app=quay.io/company/else:1")
	u.kubectl("set image statefulset/ondelete app=quay.io/company/else:1")
	u.kubectl("annotate statefulset/newest seen=yes")
	// The controller has handled a later StatefulSet, so it has handled the others.
	u.with(statefulSetYAML("last", "later"), "apply -f -")
	u.pushTo(world.registry.Address+"/"+u.namespace+"/later:latest", "later")
	u.with(tagYAML("later", world.registry.Address+"/"+u.namespace+"/later:latest", "generation: 0"), "apply -f -")
	u.kubectl("rollout status statefulset/last --timeout=90s")
	for name, uid := range uids {
		if got := u.get("pod/"+name+"-0", ".metadata.uid"); got != uid {
			t.Errorf("the pod of %s was replaced", name)
		}
	}
}
