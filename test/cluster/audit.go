package cluster

import (
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// auditPolicy writes one user's requests to the audit log, without their bodies, and none of the control plane's own.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [%q]
- level: None
`

// AuditLog returns the path of kube-apiserver's audit log, which test/audit reads. It is complete after Stop. Without an
// AuditUser in Options the file does not exist.
func (c *Cluster) AuditLog() string { return c.path("audit.log") }

// configureAudit configures kube-apiserver's audit log, if Options name an AuditUser.
func (c *Cluster) configureAudit(api *envtest.APIServer) error {
	if c.options.AuditUser == "" {
		return nil
	}
	policy := c.path("audit-policy.yaml")
	if err := os.WriteFile(policy, fmt.Appendf(nil, auditPolicy, c.options.AuditUser), 0o600); err != nil {
		return fmt.Errorf("write the audit policy: %w", err)
	}
	api.Configure().Set("audit-policy-file", policy).Set("audit-log-path", c.AuditLog())
	return nil
}

// Username returns the API server's name of a service account.
func Username(namespace, serviceAccount string) string {
	return strings.Join([]string{"system:serviceaccount", namespace, serviceAccount}, ":")
}
