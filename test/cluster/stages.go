package cluster

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// unstartable selects, in a kwok stage, pods with an image that a node could not pull: the placeholder of Tagger, and every
// repository with the name "unstartable".
const unstartable = `.spec.containers.[].image | select(test("not-imported[.]invalid/|/unstartable@"))`

// imagePullFails is the stage in which kwok leaves such pods, as a kubelet does.
const imagePullFails = `apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: pod-image-pull-fails
spec:
  resourceRef:
    apiGroup: v1
    kind: Pod
  selector:
    matchExpressions:
    - key: '.metadata.deletionTimestamp'
      operator: 'DoesNotExist'
    - key: '.status.containerStatuses'
      operator: 'DoesNotExist'
    - key: '` + unstartable + `'
      operator: 'Exists'
  next:
    statusTemplate: |
      {{ $now := Now }}
      conditions:
      - lastTransitionTime: {{ $now | Quote }}
        status: "False"
        type: Ready
      containerStatuses:
      {{ range .spec.containers }}
      - image: {{ .image | Quote }}
        name: {{ .name | Quote }}
        ready: false
        restartCount: 0
        state:
          waiting:
            reason: ErrImagePull
      {{ end }}
      phase: Pending
`

// kwokStages writes kwok's own stages, without pods whose image cannot be pulled, and returns the file.
func (c *Cluster) kwokStages() (string, error) {
	shipped, err := os.ReadFile(c.program("kwok.yaml"))
	if err != nil {
		return "", fmt.Errorf("read the stages of kwok: %w", err)
	}
	documents := strings.Split(string(shipped), "\n---\n")
	found := false
	for i, document := range documents {
		if !strings.Contains(document, "\n  name: pod-ready\n") {
			continue
		}
		if documents[i], err = withoutUnstartable(document); err != nil {
			return "", err
		}
		found = true
	}
	if !found {
		return "", errors.New("kwok.yaml has no stage pod-ready")
	}
	file := c.path("kwok.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(append(documents, imagePullFails), "\n---\n")), 0o600); err != nil {
		return "", fmt.Errorf("write the stages of kwok: %w", err)
	}
	return file, nil
}

// withoutUnstartable returns a stage that excludes pods whose image cannot be pulled.
func withoutUnstartable(document string) (string, error) {
	var stage map[string]any
	if err := yaml.Unmarshal([]byte(document), &stage); err != nil {
		return "", fmt.Errorf("read the stage pod-ready: %w", err)
	}
	spec, _ := stage["spec"].(map[string]any)
	selector, _ := spec["selector"].(map[string]any)
	expressions, ok := selector["matchExpressions"].([]any)
	if !ok {
		return "", errors.New("the stage pod-ready has no matchExpressions")
	}
	selector["matchExpressions"] = append(expressions, map[string]any{"key": unstartable, "operator": "DoesNotExist"})
	text, err := yaml.Marshal(stage)
	return string(text), err
}
