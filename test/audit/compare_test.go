package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/images-io/tagger/test/audit"
)

const user = "system:serviceaccount:tagger-system:manager"

// request is a line of an audit log: an allowed request of the user.
const request = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete","verb":"%s","requestURI":"%s",` +
	`"user":{"username":"` + user + `"},"objectRef":{"resource":"%s","namespace":"%s","name":"%s","apiGroup":"%s","subresource":"%s"},` +
	`"responseStatus":{"code":200},"annotations":{"authorization.k8s.io/decision":"allow"}}`

// on returns a request of the user: a verb, a resource as group/resource or group/resource/subresource, a namespace, a name.
func on(verb, resource, namespace, name string) string {
	parts := append(strings.Split(resource, "/"), "")
	return fmt.Sprintf(request, verb, "/apis", parts[1], namespace, name, parts[0], parts[2])
}

var (
	refused     = strings.NewReplacer(`"allow"`, `"forbid"`, `"code":200`, `"code":403`)
	byAdmission = strings.NewReplacer(`"code":200`, `"code":403`)
	unannotated = strings.NewReplacer(`"annotations":{"authorization.k8s.io/decision":"allow"}`, `"annotations":{}`, `"code":200`, `"code":403`)
	received    = strings.NewReplacer("ResponseComplete", "RequestReceived")
	started     = strings.NewReplacer("ResponseComplete", "ResponseStarted")
	byAnother   = strings.NewReplacer(user, "system:serviceaccount:tagger-system:other")
	asAnother   = strings.NewReplacer(`"responseStatus"`, `"impersonatedUser":{"username":"alice"},"responseStatus"`)
)

const metrics = `{"stage":"ResponseComplete","verb":"get","requestURI":"/metrics?x=1","user":{"username":"` + user + `"},"responseStatus":{"code":200}}`

// clusterRole binds rules to the user in every namespace, role in one.
func clusterRole(rules string) string {
	return `
- {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: wide}, rules: [` + rules + `]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRoleBinding
  metadata: {name: wide}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: wide}
  subjects: [{kind: ServiceAccount, name: manager, namespace: tagger-system}]
`
}

func role(rules string) string {
	return `
- {apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: narrow, namespace: tagger-system}, rules: [` + rules + `]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleBinding
  metadata: {name: narrow, namespace: tagger-system}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: narrow}
  subjects: [{kind: User, name: "` + user + `"}]
`
}

const (
	tags   = "{apiGroups: [images.io], resources: [tags], verbs: [get, patch]}"
	status = "{apiGroups: [images.io], resources: [tags/status], verbs: [patch]}"
	lease  = "{apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [tagger], verbs: [update]}"
	pods   = `{apiGroups: [""], resources: [pods], verbs: [watch]}`
)

func TestCompare(t *testing.T) {
	for name, row := range map[string]struct {
		rbac    string
		log     []string
		refused []string
		unused  []string
	}{
		"a role that is used to the letter": {
			rbac: clusterRole(tags), log: []string{on("get", "images.io/tags", "team", "a"), on("patch", "images.io/tags", "other", "b")},
		},
		"a verb that was never used": {
			rbac: clusterRole(tags), log: []string{on("get", "images.io/tags", "team", "a")},
			unused: []string{"patch tags.images.io, of ClusterRole wide"},
		},
		"a subresource is a resource of its own": {
			rbac: clusterRole(tags + "," + status), log: []string{on("get", "images.io/tags", "team", "a"), on("patch", "images.io/tags", "team", "a")},
			unused: []string{"patch tags.images.io/status, of ClusterRole wide"},
		},
		"the same resource of another group is another": {
			rbac: clusterRole(pods), log: []string{on("watch", "metrics.k8s.io/pods", "team", "")},
			unused: []string{"watch pods, of ClusterRole wide"},
		},
		"a name that was never used": {
			rbac: role(lease), log: []string{on("update", "coordination.k8s.io/leases", "tagger-system", "another")},
			unused: []string{"update leases.coordination.k8s.io tagger in tagger-system, of Role narrow"},
		},
		"a Role counts in its own namespace alone": {
			rbac: role(pods), log: []string{on("watch", "/pods", "team", "")},
			unused: []string{"watch pods in tagger-system, of Role narrow"},
		},
		"a Role that is used": {
			rbac: role(lease), log: []string{on("update", "coordination.k8s.io/leases", "tagger-system", "tagger")},
		},
		"a wildcard is never used": {
			rbac: clusterRole(`{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}`), log: []string{on("get", "images.io/tags", "team", "a")},
			unused: []string{"* *.*, of ClusterRole wide"},
		},
		"a path": {
			rbac: clusterRole("{nonResourceURLs: [/metrics, /healthz], verbs: [get]}"), log: []string{metrics},
			unused: []string{"get /healthz, of ClusterRole wide"},
		},
		"what is refused, once": {
			log: []string{
				refused.Replace(on("list", "/secrets", "team", "")), refused.Replace(on("list", "/secrets", "team", "")),
				refused.Replace(on("patch", "images.io/tags/status", "team", "a")), on("list", "/pods", "", ""),
			},
			refused: []string{"list secrets in team", "patch tags.images.io/status a in team"},
		},
		"what is refused does not use a grant": {
			rbac: role(pods), log: []string{refused.Replace(on("watch", "/pods", "tagger-system", ""))},
			refused: []string{"watch pods in tagger-system"}, unused: []string{"watch pods in tagger-system, of Role narrow"},
		},
		"what admission refuses was granted": {
			rbac: role(pods), log: []string{byAdmission.Replace(on("watch", "/pods", "tagger-system", ""))},
		},
		"a log that does not name the decision": {
			log: []string{unannotated.Replace(on("list", "/secrets", "team", ""))}, refused: []string{"list secrets in team"},
		},
		"a watch that has not ended": {
			rbac: role(pods), log: []string{started.Replace(on("watch", "/pods", "tagger-system", ""))},
		},
		"a request without a decision, another user's, or an impersonated one": {
			rbac: role(pods), log: []string{
				on("get", "/pods", "team", "a"), received.Replace(on("watch", "/pods", "tagger-system", "")),
				byAnother.Replace(on("watch", "/pods", "tagger-system", "")), asAnother.Replace(on("watch", "/pods", "tagger-system", "")),
				refused.Replace(byAnother.Replace(on("list", "/secrets", "team", ""))),
			},
			unused: []string{"watch pods in tagger-system, of Role narrow"},
		},
		"a line that was cut off": {
			rbac: role(pods), log: []string{on("watch", "/pods", "tagger-system", ""), on("list", "/secrets", "team", "")[:60]},
		},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := audit.Read(strings.NewReader(strings.Join(row.log, "\n")))
			if err != nil {
				t.Fatal(err)
			}
			report, err := audit.Compare(events, rendered(t, row.rbac), user)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(report.Refused, row.refused) {
				t.Errorf("refused: %q, want %q", report.Refused, row.refused)
			}
			if !slices.Equal(report.Unused, row.unused) {
				t.Errorf("unused: %q, want %q", report.Unused, row.unused)
			}
			if err := report.Err(); (err == nil) != (len(row.refused)+len(row.unused) == 0) {
				t.Errorf("the report's error is %v", err)
			}
		})
	}
}

func TestALogWithoutTheUserProvesNothing(t *testing.T) {
	report, err := audit.Compare(nil, audit.RBAC{}, user)
	if err != nil {
		t.Fatal(err)
	}
	if report.Err() == nil {
		t.Error("an empty log is taken for a proof")
	}
}

func TestCompare_BindingToMissingRole(t *testing.T) {
	rbac := rendered(t, role(pods))
	rbac.Roles = nil
	if _, err := audit.Compare(nil, rbac, user); err == nil || !strings.Contains(err.Error(), "there is no Role narrow") {
		t.Errorf("Compare: %v", err)
	}
}

func TestReadNamesTheEventThatCannotBeRead(t *testing.T) {
	_, err := audit.Read(strings.NewReader(metrics + "\nnonsense"))
	if err == nil || !strings.Contains(err.Error(), "event 2") {
		t.Errorf("Read: %v, want an error about event 2", err)
	}
}

func rendered(t *testing.T, manifests string) audit.RBAC {
	t.Helper()
	var contents []map[string]any
	if err := yaml.Unmarshal([]byte(manifests), &contents); err != nil {
		t.Fatal(err)
	}
	objects := []*unstructured.Unstructured{{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}}
	for _, content := range contents {
		objects = append(objects, &unstructured.Unstructured{Object: content})
	}
	rbac, err := audit.Rendered(objects)
	if err != nil {
		t.Fatal(err)
	}
	return rbac
}
