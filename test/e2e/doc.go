// Package e2e tests the behaviour for a user with kubectl: a real control plane, a real registry, and the shipped manager, with
// the shipped manifests and the shipped role. The manager runs in the test's own process, so that the race detector sees it.
package e2e
