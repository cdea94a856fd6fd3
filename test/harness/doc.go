// Package harness is the set-up that tests over test/cluster share: a control plane for one test with its client and
// registries, the API types, a registries.conf, and waits.
package harness
