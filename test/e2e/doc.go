// Package e2e holds what must hold for a user with kubectl: a real control plane, a real registry, and the manager as
// it is shipped, with the shipped manifests and the shipped role. The manager runs in the test's own process, so that
// the race detector sees it.
package e2e
