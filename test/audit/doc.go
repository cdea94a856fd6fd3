// Package audit holds least privilege to the letter: it compares what the API server's audit log says that a user did
// with what RBAC grants the user. Whatever was refused is missing from the role; whatever was never used is too much in it.
//
// It takes audit logs (kube-apiserver --audit-log-path, level Metadata or finer, the format of audit.k8s.io/v1 in lines of
// JSON), the RBAC objects, rendered or read from the cluster, and a user name. So it serves a control plane of a test, a
// node, and an installation by OLM alike.
package audit
