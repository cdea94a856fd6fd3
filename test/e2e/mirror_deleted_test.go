package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/images-io/tagger/test/audit"
)

// TestADeletionInTheMiddleOfACopyEndsIt: the source sends no blob, so that the copy would take long. It is one test, as both
// parts count the readers at the source.
func TestADeletionInTheMiddleOfACopyEndsIt(t *testing.T) {
	t.Parallel()
	for name, deletion := range map[string]string{
		"of the Tag":       "delete tag/myapp --timeout=60s",
		"of its namespace": "delete namespace/%s --timeout=60s",
	} {
		t.Run(name, func(t *testing.T) {
			u, neighbour := newUserAlone(t), newUserAlone(t)
			u.hosts(world.mirror.Address, asSeenByNodes(world.mirror.Address))
			u.push("build 0")
			from := strings.Replace(u.source(), world.registry.Address, world.faulty.stalling, 1)
			u.with(cachedYAML("myapp", from), "apply -f -")
			u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "Mirroring")
			reads := func(isOpen bool) func() error {
				return func() error {
					if open := world.faulty.reads.Load(); (open > 0) != isOpen {
						return fmt.Errorf("%d blobs are read", open)
					}
					return nil
				}
			}
			u.eventually("a blob to be read", reads(true))
			if got := u.get("tag/myapp", ".metadata.finalizers[*]"); got != "images.io/mirror" {
				t.Errorf("its finalizers are %s", got)
			}
			u.kubectl(strings.Replace(deletion, "%s", u.namespace, 1))
			u.eventually("no blob to be read", reads(false))
			neighbour.imported("myapp") // by then the end of the copy has had its effects
			u.mirrorHas("myapp")
			u.wroteNothingInVain()
		})
	}
}

// wroteNothingInVain checks that the manager's last write to a Tag of the namespace removed the finalizer, and that the API
// server rejected only writes whose condition did not hold any more.
func (u *user) wroteNothingInVain() {
	u.t.Helper()
	events, err := audit.ReadFiles(world.cluster.AuditLog())
	if err != nil {
		u.t.Fatal(err)
	}
	var last auditv1.Event
	for _, event := range events {
		isRead := event.Verb == "get" || event.Verb == "list" || event.Verb == "watch"
		if event.ObjectRef == nil || event.ObjectRef.Namespace != u.namespace || event.ResponseStatus == nil || isRead {
			continue
		}
		code := event.ResponseStatus.Code
		if code >= 400 && code != http.StatusConflict && code != http.StatusUnprocessableEntity {
			u.t.Errorf("%s %s was answered with %d: %s", event.Verb, event.RequestURI, code, event.ResponseStatus.Message)
		}
		if event.ObjectRef.Resource == "tags" {
			last = event
		}
	}
	if last.Verb != "patch" || last.ObjectRef.Subresource != "" || last.ResponseStatus.Code != http.StatusOK {
		u.t.Errorf("the last write is %s %s, answered with %v", last.Verb, last.RequestURI, last.ResponseStatus)
	}
	if failures := world.logs.lines(`"level":"error"`, u.namespace); len(failures) > 0 {
		u.t.Errorf("the log has errors: %s", failures)
	}
}
