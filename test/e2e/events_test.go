package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// says waits for an event of the reason about the object that contains the text.
func (u *user) says(object, reason, text string) {
	u.t.Helper()
	u.eventually(fmt.Sprintf("event %s of %s", reason, object), func() error {
		notes := u.kubectl("get events --field-selector reason=" + reason + ",involvedObject.name=" + object + " -o jsonpath={.items[*].message}")
		if !strings.Contains(notes, text) {
			return fmt.Errorf("%q is not in %q", text, notes)
		}
		return nil
	})
}

func freeze(namespace, message string) string {
	return `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: ` + namespace + `
spec:
  matchConstraints:
    namespaceSelector:
      matchLabels: {kubernetes.io/metadata.name: ` + namespace + `}
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments]}
  validations:
  - expression: object.spec.template == oldObject.spec.template
    message: ` + message + `
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: ` + namespace + `
spec:
  policyName: ` + namespace + `
  validationActions: [Deny]
`
}

// TestAMoveThatAPolicyRefusesIsAnEvent: one event for each message, and a retry when the workload or the Tag changes.
func TestAMoveThatAPolicyRefusesIsAnEvent(t *testing.T) {
	u := newUser(t)
	first := u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	enforce := func(message string) {
		u.with(freeze(u.namespace, message), "apply -f -")
		u.eventually("the policy is enforced", func() error {
			output, err := u.run("", "set", "image", "deployment/app", "app=quay.io/company/else:1", "--dry-run=server")
			if err == nil || !strings.Contains(output, message) {
				return fmt.Errorf("kubectl says %s", output)
			}
			return nil
		})
	}
	enforce("change freeze until Monday")
	u.moved("myapp", 1)
	u.says("app", "MoveRefused", "change freeze until Monday")
	enforce("change freeze until Tuesday")
	second := u.moved("myapp", 2)
	u.says("app", "MoveRefused", "change freeze until Tuesday")
	u.kubectl("label deployment/app seen=yes")
	if got := u.get("deployment/app", containerImage); got != first {
		t.Errorf("the image is %s, want %s", got, first)
	}
	if got := u.kubectl("get events --field-selector reason=MoveRefused -o name"); len(strings.Fields(got)) != 2 {
		t.Errorf("the events are %q, want one for each message", got)
	}
	u.kubectl("delete validatingadmissionpolicybinding/" + u.namespace + " validatingadmissionpolicy/" + u.namespace)
	u.eventually("the policy is gone", func() error {
		output, err := u.run("", "set", "image", "deployment/app", "app=quay.io/company/else:1", "--dry-run=server")
		if err != nil {
			return fmt.Errorf("kubectl says %s", output)
		}
		return nil
	})
	u.kubectl("annotate deployment/app note=freeze-over")
	u.becomes("deployment/app", containerImage, second)
}

func TestATagThatStaysMissingIsAnEvent(t *testing.T) {
	u := newUser(t)
	u.with(deploymentYAML("app", "absent"), "apply -f -")
	u.says("app", "TagMissing", "the workload waits for Tags that do not exist in namespace "+u.namespace+": absent")
}

func TestADetachedContainerIsAnEvent(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.has(u.kubectl("set image deployment/app app=quay.io/company/else:1"), "Warning:", `container "app" no longer follows Tag "myapp"`)
	u.says("app", "Detached", `container "app" no longer follows Tag myapp: its image is now quay.io/company/else:1`)
}
