package audit

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// The annotation with the API server's authorization decision.
const (
	decision = "authorization.k8s.io/decision"
	forbid   = "forbid"
)

// Report has the differences between a role and its use. Both lists are sorted, without duplicates.
type Report struct {
	// Requests is the number of the user's requests in the log.
	Requests int

	// Refused names the requests that the user made without a right.
	Refused []string

	// Unused names the rights without a request: verb by verb, resource by resource, name by name.
	Unused []string
}

// Compare checks the requests of one user. Impersonated requests count for the impersonated user.
func Compare(events []auditv1.Event, rbac RBAC, user string) (Report, error) {
	unused, err := rbac.grantsOf(user)
	if err != nil {
		return Report{}, err
	}
	var report Report
	refused := map[string]bool{}
	for _, event := range events {
		if event.User.Username != user || event.ImpersonatedUser != nil || event.Stage == auditv1.StageRequestReceived {
			continue
		}
		report.Requests++
		if isRefused(event) {
			refused[describe(event)] = true
			continue
		}
		unused = slices.DeleteFunc(unused, func(g grant) bool { return g.uses(event) })
	}
	report.Refused = slices.Sorted(maps.Keys(refused))
	for _, g := range unused {
		report.Unused = append(report.Unused, g.String())
	}
	slices.Sort(report.Unused)
	report.Unused = slices.Compact(report.Unused)
	return report, nil
}

// NothingRefused checks a log for forbidden requests of the user only, where some rights may be unused.
func NothingRefused(log, user string) error {
	events, err := ReadFiles(log)
	if err != nil {
		return err
	}
	report, err := Compare(events, RBAC{}, user)
	if err != nil {
		return err
	}
	return report.Err()
}

// isRefused distinguishes a denial by authorization from one by admission, such as an event for a terminating namespace.
func isRefused(event auditv1.Event) bool {
	if said, ok := event.Annotations[decision]; ok {
		return said == forbid
	}
	return event.ResponseStatus != nil && event.ResponseStatus.Code == http.StatusForbidden
}

func describe(event auditv1.Event) string {
	ref := event.ObjectRef
	if ref == nil {
		path, _, _ := strings.Cut(event.RequestURI, "?")
		return event.Verb + " " + path
	}
	what := event.Verb + " " + qualified(ref.APIGroup, resource(ref))
	if ref.Name != "" {
		what += " " + ref.Name
	}
	if ref.Namespace != "" {
		what += " in " + ref.Namespace
	}
	return what
}

// Err returns nil if the role is exactly what the user used. It returns an error for a log without a request of the user.
func (r Report) Err() error {
	if r.Requests == 0 {
		return fmt.Errorf("the audit log has no request of the user")
	}
	if len(r.Refused) == 0 && len(r.Unused) == 0 {
		return nil
	}
	return fmt.Errorf("of %d requests these were refused:\n%s\nand these are granted and were never used:\n%s",
		r.Requests, indented(r.Refused), indented(r.Unused))
}

func indented(lines []string) string {
	if len(lines) == 0 {
		return "\t(none)"
	}
	return "\t" + strings.Join(lines, "\n\t")
}
