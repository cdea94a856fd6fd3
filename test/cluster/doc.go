// Package cluster starts what Tagger's tests, `make demo` and `make dev-up` run against: a real Kubernetes control
// plane, a real image registry and, if wanted, the manager itself.
//
// Everything is an ordinary child process on loopback, with ports that were free a moment before: it needs neither
// root nor Docker, and any number of them run side by side. The programs come from bin/ (`make tools`).
//
// A control plane is etcd and kube-apiserver, as controller-runtime's envtest starts them. With workloads it is also
// kube-controller-manager, kube-scheduler and kwok, whose one node makes every pod Ready at once, so that Deployments
// really make ReplicaSets and rollouts really complete.
//
// No process outlives the one that started it, even where that one is killed; see leash.
package cluster
