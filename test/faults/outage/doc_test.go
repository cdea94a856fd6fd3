//go:build faults

// Package outage tests the promises for a missing, slow or overloaded API server, and for a shutdown of the manager: real
// control planes, the shipped manager, and a proxy between them with configurable faults.
package outage
