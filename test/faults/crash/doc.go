//go:build faults

// Package crash exits, kills and suspends managers while the generations of Tags change, and shows that nothing is lost,
// duplicated or reverted.
//
// A manager is a process of its own: bin/manager, or this test binary, which runs the same code and sends itself SIGKILL at a
// given point (see point). Two of them share a lease of 2 seconds, and a service routes the API server's webhook calls to one
// that responds.
//
// TAGGER_SEED starts the random tests from a seed that an earlier run has printed.
package crash
