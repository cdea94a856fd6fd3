//go:build faults

// Package crash ends, kills and freezes managers while Tags move, and shows that nothing is lost, made twice or taken back.
//
// A manager is a process of its own: bin/manager, or this very test binary, which runs the same code and ends itself by
// SIGKILL at a point that it was given (see point). Two of them share a lease of 2 seconds, and a service leads the API
// server's webhook calls to one that answers.
//
// TAGGER_SEED makes the random ones start from a seed that an earlier run has printed.
package crash
