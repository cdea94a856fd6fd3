package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
)

// corpMirror is the registry that the second mutator writes.
const corpMirror = "mirror.corp"

// corp returns an image in the registry of the second mutator.
func corp(image string) string { return strings.Replace(image, world.registry.Address, corpMirror, 1) }

// secondMutator is another mutator of Deployments, which rewrites the registry of images by digest.
type secondMutator struct {
	// install returns the manifest of the mutator for the namespace.
	install func(u *user) string
	// late means that the mutator sees an image only in the first write after Tagger wrote it.
	late bool
}

// secondMutators are called before or after Tagger's webhook. The API server calls policies before webhooks, and webhooks in
// the order of the names of their configurations.
var secondMutators = map[string]secondMutator{
	"webhook before, Never":    {install: secondWebhook("a", "Never"), late: true},
	"webhook before, IfNeeded": {install: secondWebhook("a", "IfNeeded")},
	"webhook after, Never":     {install: secondWebhook("z", "Never")},
	"webhook after, IfNeeded":  {install: secondWebhook("z", "IfNeeded")},
	"policy, Never":            {install: secondPolicy("Never"), late: true},
	"policy, IfNeeded":         {install: secondPolicy("IfNeeded")},
}

// secondWebhook serves the mutator in this process.
func secondWebhook(prefix, reinvocation string) func(u *user) string {
	return func(u *user) string {
		server := httptest.NewTLSServer(http.HandlerFunc(rewriteRegistry))
		u.t.Cleanup(server.Close)
		u.deleteAtEnd("mutatingwebhookconfiguration/" + prefix + "-" + u.namespace)
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		return fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata:
  name: %s-%s
webhooks:
- name: mirror.corp.example
  clientConfig: {url: %q, caBundle: %s}
  namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: %[2]s}
  rules:
  - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  reinvocationPolicy: %[5]s
  sideEffects: None
  admissionReviewVersions: [v1]
`, prefix, u.namespace, server.URL, base64.StdEncoding.EncodeToString(ca), reinvocation)
	}
}

// rewriteRegistry responds to an AdmissionReview of a Deployment.
func rewriteRegistry(w http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	var deployment appsv1.Deployment
	err := json.NewDecoder(request.Body).Decode(&review)
	if err == nil {
		err = json.Unmarshal(review.Request.Object.Raw, &deployment)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	operations := []map[string]string{}
	for i, container := range deployment.Spec.Template.Spec.Containers {
		if rewritten := corp(container.Image); rewritten != container.Image && strings.Contains(rewritten, "@") {
			path := fmt.Sprintf("/spec/template/spec/containers/%d/image", i)
			operations = append(operations, map[string]string{"op": "replace", "path": path, "value": rewritten})
		}
	}
	patch, _ := json.Marshal(operations) // strings always marshal
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: patch, PatchType: new(admissionv1.PatchTypeJSONPatch)}
	review.Request = nil
	_ = json.NewEncoder(w).Encode(review) // the API server reports a truncated response
}

// secondPolicy is the same mutator as a policy of the API server, for the first container. It has no matchConditions: the API
// server calls a policy again only if it matched before.
func secondPolicy(reinvocation string) func(u *user) string {
	return func(u *user) string {
		u.deleteAtEnd("mutatingadmissionpolicybinding/" + u.namespace)
		u.deleteAtEnd("mutatingadmissionpolicy/" + u.namespace)
		return fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: %[1]s
spec:
  matchConstraints:
    namespaceSelector:
      matchLabels: {kubernetes.io/metadata.name: %[1]s}
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  failurePolicy: Fail
  reinvocationPolicy: %[3]s
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        object.spec.template.spec.containers[0].image.matches('^%[2]s/.*@') ? [JSONPatch{
        op: "replace", path: "/spec/template/spec/containers/0/image",
        value: object.spec.template.spec.containers[0].image.replace("%[2]s/", "%[4]s/")}] : []
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: %[1]s
spec:
  policyName: %[1]s
`, u.namespace, world.registry.Address, reinvocation, corpMirror)
	}
}

// deleteAtEnd deletes an object of the cluster after the test, with a context of its own.
func (u *user) deleteAtEnd(object string) {
	u.t.Cleanup(func() {
		if output, err := u.runWith(context.Background(), "", "delete", "--ignore-not-found", object); err != nil {
			u.t.Errorf("deleting %s: %v\n%s", object, err, output)
		}
	})
}

// pinnedApp is a Deployment that follows a Tag beside the second mutator.
type pinnedApp struct {
	name, apply string
	// generation counts the expected changes of the template. Each has a ReplicaSet.
	generation int
	// isRewritten means that the mutator saw the image.
	isRewritten bool
	// rollouts are the events of the rollouts.
	rollouts []string
}

// image returns the image that the API server stores.
func (a *pinnedApp) image(image string) string {
	if a.isRewritten {
		return corp(image)
	}
	return image
}

// edit expects any write: the template changes only if the mutator sees the image for the first time.
func (a *pinnedApp) edit() {
	if !a.isRewritten {
		a.generation++
	}
	a.isRewritten = true
}

// move expects that Tagger writes the image.
func (a *pinnedApp) move(mutator secondMutator, image string) {
	a.generation++
	a.isRewritten = !mutator.late
	a.rollouts = append(a.rollouts, fmt.Sprintf(`Rollout %s container "app": Tag myapp is %s`, a.name, a.image(image)))
}

// TestASecondMutatorRewritesTheRegistry: an image with the recorded digest is the recorded image, in any repository. One of the
// Deployments is older than the mutator.
func TestASecondMutatorRewritesTheRegistry(t *testing.T) {
	for name, mutator := range secondMutators {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			image := u.imported("myapp")
			older := &pinnedApp{name: "older", apply: "apply -f -", generation: 1}
			newer := &pinnedApp{name: "newer", apply: "apply --server-side -f -", generation: 1, isRewritten: !mutator.late}
			apps := []*pinnedApp{newer, older}
			u.applies(older)
			u.installs(mutator, image)
			u.applies(newer)
			u.stores("kubectl apply", image, apps)
			u.editsWithoutEffect(image, apps)
			image = u.moved("myapp", 1)
			for _, app := range apps {
				app.move(mutator, image)
			}
			u.stores("the move of the Tag", image, apps)
			u.editsWithoutEffect(image, apps)
			u.with(deploymentYAML("newer", "myapp"), "diff --server-side -f -")
			u.has(u.kubectl("rollout undo deployment/older --to-revision=1"), "kubectl tag downgrade myapp")
			u.stores("kubectl rollout undo", image, apps)
			u.saysTheMovesOnly(apps)
			for _, app := range apps {
				if got := u.replicaSets(app.name); got != app.generation {
					t.Errorf("Deployment %s has %d ReplicaSets, want %d", app.name, got, app.generation)
				}
				if got := u.patchesOfTagger(app.name); got != len(app.rollouts) {
					t.Errorf("Tagger patched Deployment %s %d times, want %d", app.name, got, len(app.rollouts))
				}
			}
		})
	}
}

func (u *user) applies(app *pinnedApp) {
	u.t.Helper()
	u.with(deploymentYAML(app.name, "myapp"), app.apply)
}

// installs waits until the API server calls the mutator.
func (u *user) installs(mutator secondMutator, image string) {
	u.t.Helper()
	u.with(mutator.install(u), "apply -f -")
	u.eventually("the mutator is called", func() error {
		got, err := u.run(deploymentYAML("probe", image), "create", "--dry-run=server", "-o", "jsonpath={"+containerImage+"}", "-f", "-")
		if err == nil && got != corp(image) {
			err = fmt.Errorf("the image is %s", got)
		}
		return err
	})
}

// editsWithoutEffect makes requests that roll and detach nothing, apart from the mutator's change in the first of them.
func (u *user) editsWithoutEffect(image string, apps []*pinnedApp) {
	u.t.Helper()
	u.kubectl("label deployments --all --overwrite seen=" + image[len(image)-8:])
	for _, app := range apps {
		app.edit()
	}
	u.stores("kubectl label", image, apps)
	for _, app := range apps {
		u.applies(app)
	}
	u.stores("another kubectl apply", image, apps)
}

// stores waits until the Deployments have the image, its record and their generations, observed.
func (u *user) stores(after, image string, apps []*pinnedApp) {
	u.t.Helper()
	const path = `{range .items[*]}{.metadata.name} {.metadata.generation} {.status.observedGeneration} ` +
		`{.spec.template.spec.containers[0].image} {.metadata.annotations.images\.io/pinned}{"\n"}{end}`
	want := ""
	for _, app := range apps {
		want += fmt.Sprintf("%s %d %[2]d %s {\"app\":{\"tag\":\"myapp\",\"image\":%q,\"pullPolicy\":\"Always\"}}\n", app.name, app.generation, app.image(image), image)
	}
	u.eventually("the Deployments after "+after, func() error {
		got, err := u.run("", "get", "deployments", "-o", "jsonpath="+path)
		if err == nil && got != want {
			err = fmt.Errorf("they are\n%swant\n%s", got, want)
		}
		return err
	})
}

// saysTheMovesOnly waits until the Deployments have the events of their rollouts, besides those of scaling.
func (u *user) saysTheMovesOnly(apps []*pinnedApp) {
	u.t.Helper()
	const path = `{range .items[?(@.reason!="ScalingReplicaSet")]}{.reason} {.involvedObject.name} {.message}{"\n"}{end}`
	var want []string
	for _, app := range apps {
		want = append(want, app.rollouts...)
	}
	u.eventually("events of what was stored", func() error {
		events, err := u.run("", "get", "events", "--field-selector", "involvedObject.kind=Deployment", "-o", "jsonpath="+path)
		got := slices.Sorted(strings.Lines(events))
		if err == nil && strings.TrimSpace(strings.Join(got, "")) != strings.Join(want, "\n") {
			err = fmt.Errorf("they are %q, want %q", got, want)
		}
		return err
	})
}

// patchesOfTagger counts the manager's patches of a Deployment in the API server's audit log.
func (u *user) patchesOfTagger(deployment string) int {
	u.t.Helper()
	log, err := os.ReadFile(world.cluster.AuditLog())
	if err != nil {
		u.t.Fatal(err)
	}
	patches := 0
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "/namespaces/"+u.namespace+"/deployments/"+deployment) && strings.Contains(line, `"verb":"patch"`) {
			patches++
		}
	}
	return patches
}
