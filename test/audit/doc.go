// Package audit enforces least privilege exactly: it compares a user's requests in the API server's audit log with the user's
// rights in RBAC. A forbidden request shows a missing right, and an unused right is one too many.
//
// It takes audit logs (kube-apiserver --audit-log-path, level Metadata or finer, the format of audit.k8s.io/v1 in lines of
// JSON), the RBAC objects, rendered or read from the cluster, and a user name. So it works for a control plane of a test, a
// node, and an installation by OLM.
package audit
