// Package cluster starts what Tagger's tests, `make demo` and `make dev-up` run against: a real Kubernetes control
// plane, a real image registry and, if wanted, the manager itself.
//
// Everything is an ordinary child process on loopback, with ports that were free a moment before: it needs neither root nor
// Docker, and any number of them run in parallel. The programs are in bin/ (`make tools`).
//
// A control plane is etcd and kube-apiserver, as controller-runtime's envtest starts them. With workloads it is also
// kube-controller-manager, kube-scheduler and kwok, whose one node makes every pod Ready at once, so that Deployments make
// ReplicaSets and rollouts complete.
//
// No process outlives its parent, even if the parent is killed; see leash.
package cluster
