//go:build faults

// Package outage holds what must hold while the API server is away, slow or shouted at, and while the manager is told to
// stop: real control planes, the manager as it is shipped, and a proxy between them that breaks what it is told to.
package outage
